"""The gate: a pure function from evidence to PROMOTE, REJECT or INCONCLUSIVE.

Preconditions must hold, claims must be proven, guards veto on evidence of harm. It fails closed: what is
missing, of another set, leaked, used up or too small never promotes.
"""

from retune.evaluation.gate.decision import decide
from retune.evaluation.gate.evidence import key_of
from retune.evaluation.gate.firewall import leaked_rows

__all__ = ["decide", "key_of", "leaked_rows"]
