"""What may be shown of an address: all but its secrets, however badly it is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pile_toolkit.core.masks import mask_url


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://host/a?b=c#d", "https://host/a?b=c#d"),
        ("https://user:p%40ss@host:8080/a", "https://***@host:8080/a"),
        ("https://token@host", "https://***@host"),
        ("http://a:b@c@host/x@y", "http://***@host/x@y"),
        ("https://h/f?x=1&X-Amz-Signature=abc&API_KEY=d&y=2", "https://h/f?x=1&X-Amz-Signature=***&API_KEY=***&y=2"),
        ("https://h?password=x", "https://h?password=***"),
        ("https://h/a?token=x#token=y", "https://h/a?token=***#token=***"),
        ("https://h/a?%74oken=x;Sig=y", "https://h/a?%74oken=***;Sig=***"),
        ("https://h/a?X-Amz-Date=1&X-Goog-Expires=2&b=3", "https://h/a?X-Amz-Date=***&X-Goog-Expires=***&b=3"),
        ("http://user:p/w?r#d@host/a", "http://***@host/a"),
        ("http://host:8080/a@b", "http://host:8080/a@b"),
        ("http://host/a:b@c", "http://host/a:b@c"),
        ("https://***@host/a?token=***", "https://***@host/a?token=***"),
        ("hf://owner/name", "hf://owner/name"),
        ("a/folder@home", "a/folder@home"),
    ],
)
def test_credentials_in_addresses_are_masked(url, masked):
    assert mask_url(url) == masked


SECRETS = st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), min_size=1).map(lambda text: f"s3cr{text}et")


@given(
    user=st.text("abc", min_size=1),
    secret=SECRETS.filter(lambda text: "@" not in text),
    path=st.text("ab/?=&", max_size=8),
)
def test_no_password_survives_masking_and_masking_twice_is_masking_once(user, secret, path):
    masked = mask_url(f"https://{user}:{secret}@host/{path}")
    assert masked == f"https://***@host/{path}"
    assert mask_url(masked) == masked


@given(
    secret=SECRETS.filter(lambda text: not set(text) & set("&;#")), name=st.sampled_from(["token", "API-Key", "sig"])
)
def test_no_value_of_a_secret_name_survives_masking(secret, name):
    assert mask_url(f"https://host/a?x=1&{name}={secret}&y=2") == f"https://host/a?x=1&{name}=***&y=2"
