"""What is masked is what a plain reading finds, nothing else changes, and hostile text takes no longer than other."""

from __future__ import annotations

import ipaddress
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.filters import Text
from pipelines.filters.pii import REPLACEMENTS, Mask, email_spans
from pipelines.filters.registry import find_filter

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)"
_LITERAL = rf"\[(?:{_OCTET}\.){{3}}(?:{_OCTET}|[A-Za-z0-9-]*[A-Za-z0-9]:)]"
# Dot-atom, "@", host name or literal, as one expression: plain, and quadratic on hostile text.
EMAIL = re.compile(rf"\b{_ATOM}(?:\.{_ATOM})*@(?:(?:{_LABEL}\.)+{_LABEL}|{_LITERAL})")


def masked(text: str, **options):
    step = find_filter("mask")
    found = step.function(Text(text), step.read_options(options, where="mask"))
    return (found.text, found.counts) if found else (text, {})


@settings(max_examples=600)
@given(
    parts=st.lists(st.sampled_from(["a", "Z1", "é", "_", ".", "..", "-", "@", "@b.c", "[1.1.1.1]", " ", "!", "\u0661"]))
)
def test_addresses_of_mail_are_found_where_the_expression_matches(parts):
    text = "".join(parts)
    assert list(email_spans(text, Mask(email=True))) == [match.span() for match in EMAIL.finditer(text)]


def plain_addresses(text: str) -> list[str]:
    """Numbers with one dot between them, none before the first, that are a public address."""
    found = []
    for run in re.findall(r"\.*[0-9]+(?:\.[0-9]+)*", text):
        try:
            found += [run] * ipaddress.IPv4Address(run).is_global
        except ValueError:
            continue
    return found


@settings(max_examples=600)
@given(parts=st.lists(st.sampled_from(["8.8.8.8", "1", ".", "10.0.0.1", " ", "256", "01", "9.9.9", "x", "..", "é"])))
def test_ip_addresses_are_whole_runs_of_digits_and_dots(parts):
    text = "".join(parts)
    text_out, counts = masked(text, ip="<IP>")
    assert counts.get("ip", 0) == len(plain_addresses(text)) == text_out.count("<IP>")
    # What was put in is nowhere else, so the addresses put back give the text.
    for address in plain_addresses(text):
        text_out = text_out.replace("<IP>", address, 1)
    assert text_out == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at 8.8.8.8.", "at <IP>."),
        ("8.8.8.8:53, http://8.8.4.4/", "<IP>:53, http://<IP>/"),
        ("192.168.1.1 and 127.0.0.1 and 192.0.2.1", None),
        ("version 1.2.3.4.5, OID 1.3.6.1.4.1", None),
        ("8.8.8.256", None),
        ("v8.8.8.8", "v<IP>"),
    ],
)
def test_private_addresses_and_longer_numbers_stay(text, expected):
    assert masked(text, ip="<IP>")[0] == (expected or text)
    assert masked("10.0.0.1", ip="<IP>", private_ips=True)[0] == "<IP>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Call (713) 853-6161 or 713.853.6162!", "Call <P> or <P>!"),
        ("713-853-6161", "<P>"),
        ("(713)853-6161", "<P>"),
        ("tel:+1 713 853 6161", "tel:<P>"),
        ("+49 30 901820, +442079460958", "<P>, <P>"),
        ("+44 (0)20 7946 0958.", "<P>."),
        ("1234567890", None),
        ("713-853-61612", None),
        ("1-713-853-6161-22", None),
        ("112-853-6161 713-153-6161", None),
        ("x+1234567 a713-853-6161", None),
        ("10.713.853.6161", None),
        ("+12", None),
        ("2021-12-31 12:00", None),
    ],
)
def test_telephone_numbers_are_told_from_other_numbers(text, expected):
    assert masked(text, phone="<P>")[0] == (expected or text)


def test_default_replacements_are_nobodys_and_are_not_masked_again():
    text = "mail a.b@c.org, ip 8.8.8.8, phone 713-853-6161, +49 30 901820"
    once, counts = masked(text, email=True, ip=True, phone=True)
    assert once == "mail email@example.com, ip 192.0.2.1, phone 202-555-0100, 202-555-0100"
    assert counts == {"email": 1, "ip": 1, "phone": 2}
    assert masked(once, email=True, ip=True, phone=True) == (once, {})
    assert not ipaddress.ip_address(REPLACEMENTS["ip"]).is_global


def test_only_what_is_asked_for_is_masked_with_the_text_that_is_asked_for():
    text = "a@b.org 8.8.8.8"
    assert masked(text, email="|||EMAIL_ADDRESS|||") == ("|||EMAIL_ADDRESS||| 8.8.8.8", {"email": 1})
    assert masked(text, ip="") == ("a@b.org ", {"ip": 1})


HOSTILE = [
    "a@",
    "a",
    "a.",
    "@",
    "1",
    "1.",
    "1 ",
    "+1 ",
    "(",
    "(222) ",
    "222-",
    "a@[",
    "é@",
    "b-",
    "-a",
    "+",
    "..a",
    "2.2 ",
]


@pytest.mark.parametrize("part", HOSTILE)
def test_a_megabyte_of_hostile_text_is_read_through(part):
    # Quadratic expressions would take hours here; the last part lets them fail at the very end.
    for end in ("@", "x"):
        text = part * (1_000_000 // len(part)) + end
        again, counts = masked(text, email="<E>", ip="<I>", phone="<P>")
        assert len(again) <= len(text) or counts


@pytest.mark.real_data
def test_real_texts_are_the_same_but_for_what_was_masked(minipile):
    from pile_toolkit.core.documents import read_documents

    total = 0
    for document in read_documents(minipile / "enron-emails.jsonl.zst"):
        text, counts = masked(document.text, email="\ue000", ip="\ue000", phone="\ue000")
        kept = text.split("\ue000")
        assert len(kept) - 1 == sum(counts.values())
        at = 0
        for piece in kept:
            at = document.text.index(piece, at) + len(piece)
        total += len(kept) - 1
    assert total > 5000


def test_masking_is_the_same_whatever_stands_around():
    rng = random.Random(1)
    parts = ["a@b.org", "8.8.8.8", "713-853-6161", "plain"]
    for _ in range(300):
        chosen = rng.choices(parts, k=6)
        text, _ = masked(", ".join(chosen), email="E", ip="I", phone="P")
        assert text == ", ".join(
            {"a@b.org": "E", "8.8.8.8": "I", "713-853-6161": "P"}.get(part, part) for part in chosen
        )
