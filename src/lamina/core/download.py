"""Files from the network: resumed where they broke off, checked by their published hash, and kept.

A file gets its name in the cache only once its hash is right, so what has its name is whole. The cache is `LAMINA_HOME`, else
`XDG_CACHE_HOME`/lamina, else ~/.cache/lamina. Each address is told before bytes come from it, and nothing is sent to it but the
request.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lamina.core.alone import alone
from lamina.core.errors import DownloadError, LaminaError
from lamina.core.transfer import Teller, Transfer, is_genuine

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["download", "home", "is_genuine", "torch_folder"]

_DIGITS = {"sha256": (8, 64), "md5": (32, 32)}  # the fewest and the most that tell anything


def home() -> Path:
    """The folder of the cache, which may not be there yet."""
    told = os.environ.get("LAMINA_HOME")
    if told:
        return Path(told).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lamina"


def torch_folder() -> Path:
    """Where torch keeps the weights that it has downloaded."""
    told = os.environ.get("TORCH_HOME")
    around = Path(told) if told else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    return around.expanduser() / "hub" / "checkpoints"


def download(
    urls: str | Sequence[str],
    *,
    name: str,
    digest: str,
    folder: str = "files",
    size: int | None = None,
    licence: str = "",
    console: Console | None = None,
) -> Path:
    """The path of the file with the hash `digest`: in the cache, else in torch's, else fetched from the first URL that gives it.

    `digest` is "sha256:" and the published hash or its first digits (8 or more), or "md5:" and all 32. `size` in bytes is
    given where it is published. `folder` is below `home()`. `licence` is shown beside the address. Processes that ask for one
    file at once fetch it once; what a broken or stopped transfer has brought is kept, and the next one goes on there. Raises
    DownloadError, which tells what came of each URL, and LaminaError where the disk is full or may not be written.
    """
    addresses = [urls] if isinstance(urls, str) else list(urls)
    _check(addresses, name, digest)
    target = home() / folder / name
    try:
        damaged = target.exists() and not is_genuine(target, digest)
        if target.exists() and not damaged:
            return target
        with contextlib.suppress(OSError):  # torch's files are no concern of ours if they cannot be read
            if is_genuine(torch_folder() / name, digest):
                return torch_folder() / name
        target.parent.mkdir(parents=True, exist_ok=True)
        teller = Teller(name, licence, console)
        lock = target.with_name(f".{name}.lock")
        with alone(lock, waiting=lambda: teller.say("waiting for another process that fetches it")) as locked:
            if target.exists() and is_genuine(target, digest):  # by the other process
                return target
            own = "" if locked else f".{os.getpid()}-{threading.get_ident()}"  # each has its own part
            part = target.with_name(f".{name}.{digest.partition(':')[2][:16]}{own}.part")
            transfer = Transfer(part, digest, size=size, teller=teller)
            told = transfer.run(addresses)
            if told:
                raise _failed(name, digest, target, told, came=transfer.have(), damaged=damaged)
            with part.open("rb+") as stream:
                os.fsync(stream.fileno())
            os.replace(part, target)
    except OSError as error:  # of the disk: those of the network have become texts
        raise _disk_error(error, target) from error
    return target


def _failed(name: str, digest: str, target: Path, told: dict[str, str], *, came: int, damaged: bool) -> DownloadError:
    algorithm, _, digits = digest.partition(":")
    whole = len(digits) == _DIGITS[algorithm][1]
    kept = f"The {came:,} bytes that came are kept: the next call goes on from there. " if came else ""
    return DownloadError(
        f"{f'{target} is damaged, and {name}' if damaged else name} could not be downloaded:"
        + "".join(f"\n  {url} {text}." for url, text in told.items())
        + "\n",
        f"A file whose {algorithm.upper()} {'is' if whole else 'begins with'} {digits} was expected.",
        f"{kept}Check the network and its proxy, or fetch the file by other means and save it as {target}: "
        "then no network is needed.",
    )


def _disk_error(error: OSError, target: Path) -> LaminaError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return LaminaError(
        f"{target} could not be written ({'the disk is full: ' if full else ''}{error.strerror or error}).",
        "A folder that may be written, with room on its disk, was expected.",
        "Make room, or name another folder by the environment variable LAMINA_HOME; what has come is kept.",
    )


def _check(urls: Sequence[str], name: str, digest: str) -> None:
    algorithm, _, digits = digest.partition(":")
    least, most = _DIGITS.get(algorithm, (1, 0))
    if not least <= len(digits) <= most or set(digits.lower()) - set("0123456789abcdef"):
        raise LaminaError(
            f"The hash of {name} is given as {digest!r}.",
            '"sha256:" and at least 8 of its digits, or "md5:" and all 32, were expected.',
            "Pass the hash that the file's publisher names.",
        )
    if not name or Path(name).name != name or "\\" in name:
        raise LaminaError(f"The file is to be called {name!r}.", "A name without folders was expected.", "Pass one.")
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise LaminaError(
                f"The address {url!r} was given.",
                "https:// or http:// was expected.",
                "A file on a disk needs no download: pass its path where weights or data are asked for.",
            )
    if not urls:
        raise LaminaError(f"No address was given for {name}.", "At least one was expected.", "Pass urls=[...].")
