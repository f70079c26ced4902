"""Rollout: what is refused, and what waiting says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from retune.artifacts import Artifacts
from retune.errors import EndpointError
from retune.records import Release
from retune.serving import rollout
from retune.spec import PipelineSpec
from retune.state import ledger, placements, releases, replicas, routes, specs
from retune.state.database import Database
from retune.state.replicas import ReplicaState
from tests.unit.serving.builders import ENDPOINT, NOW, SPEC, stored_model, stored_release


def test_waiting_says_what_is_missing(db: Database) -> None:
    with pytest.raises(EndpointError, match="no agent of endpoint 'vllm_default' is alive"):
        rollout.wait_ready("sha256:x", ENDPOINT, db=db, timeout_s=0)
    state = ReplicaState("host-9", ENDPOINT, "http://gone:1", "base")
    with db.write() as tx:
        replicas.report(tx, state, datetime.now(UTC))
    with pytest.raises(EndpointError, match="agent 'host-9' still loads sha256:x"):
        rollout.wait_ready("sha256:x", ENDPOINT, db=db, timeout_s=0)
    with pytest.raises(EndpointError, match="no agent of endpoint 'vllm_default' runs a gateway"):
        rollout.wait_routed("tickets", 1, ENDPOINT, db=db, timeout_s=0)
    state = replace(state, healthy=False, gateway_url="http://gone:2", routes={"tickets": 1})
    with db.write() as tx:
        replicas.report(tx, state, datetime.now(UTC))
    with pytest.raises(EndpointError, match="replica http://gone:1 does not answer"):
        rollout.wait_ready("sha256:x", ENDPOINT, db=db, timeout_s=0)
    with pytest.raises(EndpointError, match="follows version 1 of 'tickets', not 2"):
        rollout.wait_routed("tickets", 2, ENDPOINT, db=db, timeout_s=0)
    assert rollout.wait_routed("tickets", 1, ENDPOINT, db=db, timeout_s=0) == [state]


def test_deploying_in_the_wrong_order_or_place_is_refused(db: Database, tmp_path: Path) -> None:
    artifacts = Artifacts((tmp_path / "store").as_uri())
    with pytest.raises(EndpointError, match="tickets has no release"):
        rollout.rollback("tickets", "ana", db=db, now=NOW)
    first, second = (
        stored_release(db, stored_model(artifacts, tmp_path / name), name, tmp_path) for name in "ab"
    )
    with pytest.raises(EndpointError, match="nothing of tickets is live"):
        rollout.rollback("tickets", "ana", db=db, now=NOW)
    rollout.deploy(second, SPEC, db=db, now=NOW)
    with pytest.raises(EndpointError, match="a later release than 1"):
        rollout.deploy(first, SPEC, db=db, now=NOW)
    stranger = second.model_copy(update={"pipeline": "other"})
    with pytest.raises(EndpointError, match="alias 'tickets' belongs to pipeline 'tickets'"):
        rollout.deploy(stranger, SPEC, db=db, now=NOW)
    with db.read() as tx:
        assert len(ledger.entries(tx)) == 1 and len(routes.history(tx, "tickets")) == 1
        assert set(placements.purposes(tx, ENDPOINT)) == {"release:tickets:2"}


@pytest.fixture
def made(db: Database, tmp_path: Path) -> list[Release]:
    """Three releases, of which none is live."""
    artifacts = Artifacts((tmp_path / "store").as_uri())
    return [stored_release(db, stored_model(artifacts, tmp_path / name), name, tmp_path) for name in "abc"]


def with_deploy(**changes: str) -> PipelineSpec:
    """The sample spec with another alias or endpoint."""
    return SPEC.model_copy(update={"deploy": SPEC.deploy.model_copy(update=changes)})


def frozen(db: Database, release: Release, spec: PipelineSpec) -> Release:
    """A next release of the same model that was made by another spec."""
    with db.write() as tx:
        specs.freeze(tx, spec, NOW)
        return releases.create(
            *(tx, "tickets", spec.digest, release.model, release.dataset_digest, release.decision, "moved"),
            NOW,
        )


def test_going_back_over_a_move_leads_to_the_earlier_endpoint(db: Database, made: list[Release]) -> None:
    moved = with_deploy(endpoint="vllm_other")
    rollout.deploy(made[0], SPEC, db=db, now=NOW)
    rollout.deploy(made[1], SPEC, db=db, now=NOW)
    rollout.deploy(frozen(db, made[2], moved), moved, db=db, now=NOW)
    back = rollout.rollback("tickets", "ana", db=db, now=NOW)
    assert (back.alias, back.endpoint, back.targets[0].release) == ("tickets", ENDPOINT, 2)
    with db.read() as tx:
        assert routes.for_endpoint(tx, ENDPOINT) == [back]
        assert routes.for_endpoint(tx, "vllm_other") == []
        assert "release:tickets:2" in placements.purposes(tx, ENDPOINT)


def test_a_renamed_alias_that_is_not_live_is_not_gone_back_on(db: Database, made: list[Release]) -> None:
    rollout.deploy(made[0], SPEC, db=db, now=NOW)
    rollout.deploy(made[1], SPEC, db=db, now=NOW)
    renamed = with_deploy(alias="renamed")
    newest = frozen(db, made[2], renamed)
    back = rollout.rollback("tickets", "ana", db=db, now=NOW)
    assert (back.alias, back.version, back.targets[0].release) == ("tickets", 3, 1)
    # Once it is live, its callers are the ones that go back.
    rollout.deploy(newest, renamed, db=db, now=NOW + timedelta(hours=1))
    back = rollout.rollback("tickets", "ana", db=db, now=NOW + timedelta(hours=2))
    assert (back.alias, back.version, back.targets[0].release) == ("renamed", 2, 1)
