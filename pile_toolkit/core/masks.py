"""An address in, the same without what is secret in it out: fit for manifests, logs, messages and reports."""

from __future__ import annotations

import re
from urllib.parse import unquote

MASK = "***"
_SECRET_NAME = re.compile(r"token|key|sig|secret|pass|pwd|cred|auth|^x-(amz|goog)-", re.IGNORECASE)
_PARAMETER = re.compile(r"(?P<name>[^=&;?#]*)=(?P<value>[^&;#]*)")
# A password that somebody did not percent-encode may hold "/", "?" and "#": then "@" ends it all the same, unless what
# stands behind the colon is a port.
_USER = re.compile(r"^(?:[^/?#]*@|[^/?#@:]+:(?!\d+(?:[/?#]|$))[^\s]*@)")


def mask_url(url: str) -> str:
    """The URL without user, password and values of query parameters that look like keys: fit for logs and manifests."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    rest = _USER.sub(f"{MASK}@", rest)
    place, mark, query = re.match(r"([^?#]*)([?#]?)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    return f"{scheme}://{place}{mark}{_PARAMETER.sub(_masked_parameter, query)}"


def _masked_parameter(match: re.Match[str]) -> str:
    return f"{match['name']}={MASK}" if _SECRET_NAME.search(unquote(match["name"])) else match[0]
