"""Personal data is found, other numbers are not, and placeholders mean the same all through."""

from __future__ import annotations

import csv
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.testing.personal_data import Planted, look_alikes, plant
from retune.text import privacy

BANKING = Path(__file__).resolve().parents[4] / "shared" / "data" / "banking77"
# Pieces that detectors care about, put together in ways that nobody planned.
PIECES = st.sampled_from(
    [
        "ann@example.org", "@", "a.", "+49 30 123456", "(030) 123456", "555-123-4567", "0171 1234567", "00",
        "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "123-45-6789", "BSN ", "123456782", "call ",
        "order ",
        "192.168.1.7", "2001:db8::1", "::", ":", "password: ", "hunter2", "sk-abcdefghij0123456789",
        "Bearer ",
        "12 Baker Street, ", "London", "Hauptstraße 5", "<EMAIL_1>", "<PHONE_1>", "<SECRET_2>", "<", ">",
        "_1>", "\0",
        "-", " ", "\n", "1", "12345678", "X", "AB 12 34 56 C", "-----BEGIN PRIVATE KEY-----", "://u:p@h.de",
        "is ", "ß", " x12", " is my mobile number", "Gasse 3, 9482 Steyr", ", IN 02082", "NIE ", "=", "'",
        ". ", "2345 6789 0123", "token", "pass", "7", "+", "(", ")", "Order ", "1.2.3.45", "080507A2546",
    ]
)  # fmt: skip
MIXED = st.lists(PIECES, max_size=12).map("".join)
ANY = st.one_of(st.text(), MIXED)

FOUND = [
    ("Write to Ann.Lee+x@Mail.example.co.uk.", "EMAIL"), ("<ann@example.org>", "EMAIL"),
    ("jörg@müller.de schrieb", "EMAIL"), ("+49 (0)30 1234567", "PHONE"), ("0049 30 1234567", "PHONE"),
    ("(030) 123456", "PHONE"), ("555-123-4567", "PHONE"), ("0171 1234567", "PHONE"), ("06 12 34 56 78",
    "PHONE"),
    ("my number is 612 345 678", "PHONE"), ("call 4155552671", "PHONE"),
    ("IBAN DE89 3704 0044 0532 0130 00.", "IBAN"),
    ("gb29nwbk60161331926819", "IBAN"), ("4111 1111 1111 1111", "CARD"), ("378282246310005", "CARD"),
    ("5555-5555-5555-4444", "CARD"), ("123-45-6789", "NATIONAL_ID"), ("SSN 123456789", "NATIONAL_ID"),
    ("BSN: 123456782", "NATIONAL_ID"), ("12345678Z", "NATIONAL_ID"), ("X-1234567-L", "NATIONAL_ID"),
    ("529.982.247-25", "NATIONAL_ID"), ("PESEL 44051401359", "NATIONAL_ID"), ("NHS no. 943 476 5919",
    "NATIONAL_ID"),
    ("AB 12 34 56 C", "NATIONAL_ID"), ("131052-308T", "NATIONAL_ID"), ("756.9217.0769.85", "NATIONAL_ID"),
    ("123456782 is my BSN", "NATIONAL_ID"), ("from 203.0.113.9:8080", "IP"), ("2001:db8::ff00:42:8329", "IP"),
    ("fe80::1ff:fe23:4567:890a", "IP"), ("12 Baker Street", "ADDRESS"),
    ("221B Baker St, London NW1 6XE", "ADDRESS"), ("Hauptstraße 5, 10115 Berlin", "ADDRESS"),
    ("12 rue de la Paix, 75002 Paris", "ADDRESS"), ("password: xyz", "SECRET"), ("api_key=abc123", "SECRET"),
    ("My password is hunter2!", "SECRET"), ("Authorization: Bearer abcdef0123456789abc", "SECRET"),
    ("ghp_" + "a1B2" * 9, "SECRET"), ("sk-ant-api03-" + "x9" * 20, "SECRET"), ("AKIAIOSFODNN7EXAMPLE",
    "SECRET"),
    ("postgres://app:s3cr3t@db:5432/x", "SECRET"), ("sk_live_" + "4e" * 12, "SECRET"),
    ("(415) 555-2671 ext. 12", "PHONE"), ("+1 650 555 0123 x7", "PHONE"), ("+48 573 126 661", "PHONE"),
    ("Order 48213377 came late. 612 345 678 is my number", "PHONE"), ("+683 7012", "PHONE"),
    ("'612 345 678' is my mobile number", "PHONE"), ("080507A2546", "NATIONAL_ID"),
    ("mi NIE: X1234567L", "NATIONAL_ID"),
    ("Emma-Hummel-Weg 3, 9482 Steyr", "ADDRESS"), ("Musílkova 64\n258 95 Kolín", "ADDRESS"),
    ("8426 Mccarthy Knolls Suite 321, East Jesse, IN 02082", "ADDRESS"), ("PASSWORD = s3cret", "SECRET"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "SECRET"),
]  # fmt: skip

CLEAN = [
    "", "Where is my parcel?", "order 48213377", "Order #4839201845", "order number 123456789",
    "invoice 0123456789",
    "Rechnung INV-2024-000123456", "2024-05-12", "12.05.2024 14:30", "05/12/2024 to 06/12/2024", "20240512",
    "$1,234,567.89", "1234567.89 EUR", "1 234 567 EUR", "costs 129.99 and 19.90", "978-3-16-148410-0",
    "ISBN 9783161484100", "EAN 4006381333931", "version 1.2.3.4", "v10.0.19045.1", "firmware 2.14.3", "1.2.3",
    "Chrome 120.0.6099.109", "550e8400-e29b-41d4-a716-446655440000",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "127.0.0.1", "::1",
    "std::vector a::b x[1::2]",
    "12:30:45", "1234 5678 9012 3456", "4111 1111 1111 1112", "DE89370400440532013001", "000-12-3456",
    "666-12-3456", "my password is wrong", "Password: please reset it", "a token of love",
    "password=${DB_PASSWORD}",
    "password: <your password>", "@ann", "ann@localhost", "logo@2x.png", "3 Sony TVs",
    "I bought 12 Apple phones",
    "5 Minuten Umweg 5", "1716239022000", "tracking 1Z999AA10123456784",
    "https://shop.example/order/4839201845",
    "9400 1434 0360 0774 2947 41", "order 651-8822726-2614916", "tracking number 8143-2969-5218",
    "ref 85260060-A", "upgrade V8 to 8.3.110.9", "typing-extensions>=3.10.0.2", "Section 19.1.2.6",
    "fix in 1.6.2.3", "netmask 255.255.255.0", "zlib 1.3.0.1-motley", "Boston, MA 02110-1301",
    "max_tokens=4096", "tiktoken==0.2.0",
    "const pass = new PassThrough()", "password=password", "api_key='your-api-key'", "PWD: /home/ann/shop",
    "https://user:pass@host/x", "tokens = match[1]", "1991-1997, Thomas G. Lane", "May 5, 2024 Friday",
    "on June 5, 1500 People came", "Ryzen 9, 4200 MHz", "das kam nie an: 912 95 204", "0123456789",
    "call me at 14:30 on 2024-05-12", "9-to-5, 24/7, 3-5 days", "A4 paper, 100x200 mm", "12345678A",
]  # fmt: skip


@pytest.mark.parametrize(("text", "kind"), FOUND)
def test_what_is_personal_is_found(text: str, kind: str) -> None:
    (new,), counts = privacy.redact([text])
    assert counts == {kind: 1}
    assert f"<{kind}_1>" in new


@pytest.mark.parametrize("text", CLEAN)
def test_what_only_looks_alike_is_left_alone(text: str) -> None:
    assert privacy.redact([text]) == ([text], Counter())


@given(st.lists(ANY, max_size=4))
@settings(max_examples=150, deadline=None)
def test_redacting_twice_changes_nothing(texts: list[str]) -> None:
    once, counts = privacy.redact(texts)
    assert len(once) == len(texts)
    assert privacy.redact(once) == (once, Counter())
    assert set(counts) <= set(privacy.KINDS) and all(count > 0 for count in counts.values())
    assert bool(counts) == (once != texts)


@given(st.lists(st.text("abcdefg ,;?!\n", max_size=60), max_size=4))
@settings(deadline=None)
def test_clean_texts_come_back_as_they_were(texts: list[str]) -> None:
    assert privacy.redact(texts) == (texts, Counter())


@given(st.lists(st.sampled_from(["ann@example.org", "ANN@Example.org", "bob@example.org"]), min_size=1))
@settings(deadline=None)
def test_a_value_has_one_placeholder_in_all_texts(values: list[str]) -> None:
    texts, counts = privacy.redact([f"from {value}." for value in values])
    names = {(value.lower(), text) for value, text in zip(values, texts, strict=True)}
    assert len({name for name, _ in names}) == len({text for _, text in names}) == len(names)
    assert counts == {"EMAIL": len(values)}


def test_spaces_dashes_and_case_make_no_difference() -> None:
    texts, _ = privacy.redact(
        ["4111111111111111 4111-1111-1111-1111", "DE89370400440532013000, de89 3704 0044 0532 0130 00"]
    )
    assert texts == ["<CARD_1> <CARD_1>", "<IBAN_1>, <IBAN_1>"]
    assert privacy.redact(["+49 30 1234567 or 0049-30-1234567"])[0] == ["<PHONE_1> or <PHONE_1>"]


def test_numbers_that_stand_side_by_side_are_two() -> None:
    assert privacy.redact(["0171 1234567 0171 7654321"]) == (["<PHONE_1> <PHONE_2>"], {"PHONE": 2})
    assert privacy.redact(["4111 1111 1111 1111 030 1234567"])[0] == ["<CARD_1> <PHONE_1>"]


def test_placeholders_that_are_there_keep_their_meaning() -> None:
    texts, counts = privacy.redact(["<EMAIL_1> wrote", "to ann@example.org and bob@example.org", "<EMAIL_3>"])
    assert texts == ["<EMAIL_1> wrote", "to <EMAIL_2> and <EMAIL_4>", "<EMAIL_3>"]
    assert counts == {"EMAIL": 2}


def test_a_number_once_named_is_found_where_it_stands_alone() -> None:
    texts, counts = privacy.redact(["Here: 123456782.", "Is that your BSN?", "Yes, BSN 123456782!"])
    assert texts == ["Here: <NATIONAL_ID_1>.", "Is that your BSN?", "Yes, BSN <NATIONAL_ID_1>!"]
    assert counts == {"NATIONAL_ID": 2}


def test_a_question_names_the_number_in_the_answer() -> None:
    assert privacy.redact(["What is your BSN?", "123456782"])[0] == ["What is your BSN?", "<NATIONAL_ID_1>"]


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("postgres://app:s3cr3t@db.example.org/x", "postgres://app:<SECRET_1>@db.example.org/x"),
        ("sk-abcdefghij0123456789@example.org", "<SECRET_1>@example.org"),
        ("password: ann1@example.org", "password: <SECRET_1>"),
        ("api_key=4111111111111111", "api_key=<SECRET_1>"),
        ("call 4111 1111 1111 1111", "call <CARD_1>"),
        ("Hauptstraße 5, 10115 Berlin 030 1234567", "<ADDRESS_1> <PHONE_1>"),
        ("IP 192.168.1.7, phone 030/1234567", "IP <IP_1>, phone <PHONE_1>"),
    ],
)
def test_where_two_kinds_overlap_the_surer_one_wins(text: str, redacted: str) -> None:
    assert privacy.redact([text])[0] == [redacted]


@pytest.fixture(scope="module")
def planted() -> list[Planted]:
    return list(plant(1, 8000))


@pytest.mark.parametrize("kind", privacy.KINDS)
def test_nearly_all_planted_data_is_found(kind: str, planted: list[Planted]) -> None:
    missed = []
    ours = [one for one in planted if one.kind == kind]
    for one in ours:
        (text,), counts = privacy.redact([one.text])
        if one.value in text or not counts[kind]:
            missed.append(one.text)
    assert len(ours) == 1000
    assert len(missed) <= 10, missed


def test_numbers_that_are_nobodys_are_left_alone() -> None:
    texts = list(look_alikes(1, 5000))
    flagged = [text for text in texts if privacy.redact([text])[1]]
    assert len(flagged) <= 25, flagged  # right check digits by chance


def test_real_messages_without_personal_data_come_back_as_they_were() -> None:
    if not BANKING.is_dir():
        pytest.skip(f"needs BANKING77 in {BANKING}")
    for name in ("train", "test"):
        with (BANKING / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            texts = [row["text"] for row in csv.DictReader(file)]
        assert [text for text in texts if privacy.redact([text])[1]] == []


def test_the_order_of_the_rows_decides_nothing() -> None:
    rows = [one.text for one in plant(3, 200)]
    redacted = {text: privacy.redact([text]) for text in rows}
    random.Random(1).shuffle(rows)
    assert all(privacy.redact([text]) == redacted[text] for text in rows)


@given(st.lists(ANY, max_size=3))
@settings(max_examples=100, deadline=None)
def test_no_text_is_too_strange(texts: list[str]) -> None:
    assert privacy.redact(texts) == privacy.redact(texts)


def test_planting_is_decided_by_the_seed() -> None:
    assert list(plant(5, 40)) == list(plant(5, 40)) != list(plant(6, 40))
    assert all(one.value in one.text for one in plant(5, 400))


def test_the_sample_tickets_hold_only_what_was_put_there() -> None:
    tickets = Path(__file__).parents[3] / "include" / "data" / "support_tickets.jsonl"
    texts, counts = privacy.redact([tickets.read_text("utf-8")])
    assert set(counts) == {"EMAIL"}
    assert texts[0].count("@") == 0


@pytest.mark.parametrize(
    "unit", ["1", "@", "a.", "a@", "1 ", "12 ", "a@a.", "+1", "(0", "a:", "::", "sk-",
    "-----BEGIN PRIVATE KEY-----",
             "password:", "12 A", "0171 1234567 ", "://a:", "<EMAIL_1>", "AB12", "1.1.1.1.", "Bearer ",
             "eyJa.", "1 Aa ", "Aa 1, 10000 A", "1 Aa, Aa ", "12 rue ", "0171 1 x", "tokens: a "],
)  # fmt: skip
def test_hostile_text_ends(unit: str) -> None:
    text = unit * (20_000 // len(unit))
    once, _ = privacy.redact([text])
    assert len(once[0]) <= 2 * len(text)


def test_a_validator_that_stumbles_finds_nothing() -> None:
    # stdnum looks this up as a Chinese resident's number, of a county that it does not know.
    assert privacy.redact(["111101110111100000"]) == (["111101110111100000"], Counter())
