"""`omnial serve`: inspection over HTTP, with a web page."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import SecretStr

from omnial.cli import options
from omnial.cli.options import flag, number, option
from omnial.cli.output import say, working
from omnial.cli.verb import ExitCode, verb
from omnial.errors import UserError

_LIMITS, _HISTORY = "Limits", "History"
_TOKEN = "OMNIAL_TOKEN"
_TOKEN_FILE = f"Ask for the token in this file; or set the environment variable {_TOKEN}."
_BACKEND = "Engine; auto takes the one that the folder was made for."
_KEEP_FILES = "Keep the image files too, for `omnial learn`."
_SHORTEST_TOKEN = 16
_LARGEST_TOKEN_FILE = 4096


@verb(
    "omnial serve models/mvtec",
    "omnial serve exported --host 0.0.0.0 --port 8080 --token-file token",
)
def serve(
    model_dir: options.AnyModelDir,
    host: Annotated[
        str, option("ADDRESS", "Listen there; 0.0.0.0 is every address.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="0 takes a free one.")
    ] = 8000,
    name: Annotated[
        list[str] | None, option("HOST", "Host name that browsers use for it. Repeatable.")
    ] = None,
    token_file: Annotated[Path | None, option("FILE", _TOKEN_FILE)] = None,
    backend: Annotated[
        Literal["auto", "torch", "onnx", "openvino"], option(None, _BACKEND)
    ] = "auto",
    device: options.Device = "auto",
    threads: Annotated[int | None, number("Threads of an exported model's engine.")] = None,
    batch_size: options.BatchSize = 8,
    gather_ms: Annotated[
        float,
        typer.Option(min=0, max=1000, metavar="MS", help="Wait that long for a batch to fill."),
    ] = 4.0,
    queue: Annotated[int, number("Images waiting at most.", _LIMITS)] = 64,
    timeout: Annotated[float, option("S", "Seconds for one request.", _LIMITS, least=0.001)] = 30.0,
    max_megabytes: Annotated[float, option("MB", "Largest file.", _LIMITS, least=0.001)] = 20.0,
    max_megapixels: Annotated[float, option("MP", "Largest image.", _LIMITS, least=0.001)] = 50.0,
    significant_bits: options.SignificantBits = None,
    max_batch: Annotated[int, number("Images in one request.", _LIMITS)] = 16,
    history: Annotated[Path, option("FILE", "SQLite file of what was inspected.", _HISTORY)] = Path(
        "runs/serve/history.sqlite"
    ),
    no_history: Annotated[bool, flag("--no-history", "Keep nothing.", _HISTORY)] = False,
    keep_files: Annotated[bool, flag("--keep-files", _KEEP_FILES, _HISTORY)] = False,
    history_days: Annotated[float, option("D", "Forget after.", _HISTORY, least=0.001)] = 90.0,
    history_megabytes: Annotated[float, option("MB", "Forget beyond.", _HISTORY, least=1)] = 1000.0,
) -> ExitCode:
    """Answer over HTTP, and show a page to drop images on.

    Reachable from this machine alone unless --host says otherwise. SIGTERM ends it when every
    request that was begun has its answer.
    """
    token, read = _read_token(token_file), options.reading(None, significant_bits)
    with working():
        from omnial.inference.engines import needs_package
        from omnial.inference.inspector import Inspector

        with needs_package("What the service needs", ".[serve]"):
            import python_multipart  # noqa: F401  # used by FastAPI's forms alone

            from omnial.serving.app import is_loopback, listen, url
            from omnial.serving.app import serve as answer
            from omnial.serving.service import Service, model_name
            from omnial.serving.service_settings import ServiceSettings

        settings = ServiceSettings(
            host=host,
            port=port,
            names=tuple(name or ()),
            token=token,
            queue=queue,
            timeout=timeout,
            max_megabytes=max_megabytes,
            max_megapixels=max_megapixels,
            max_batch=max_batch,
            gather_milliseconds=gather_ms,
            history=None if no_history else history,
            history_files=keep_files,
            history_days=history_days,
            history_megabytes=history_megabytes,
        )
        inspector = Inspector(
            *(model_dir, backend),
            device=device,
            batch_size=batch_size,
            threads=threads,
            reading=read,
        )
        with listen(settings) as listening:
            service = Service(inspector, model_name(model_dir), settings)
            say(f"warming up {inspector.backend.name}")
            inspector.warm_up()
            if not is_loopback(listening) and token is None:
                say(
                    "warning: other machines reach this service, and nothing keeps them out. "
                    "Give --token-file, and put a proxy with TLS in front of it."
                )
            answer(service, listening, lambda: say(f"inspecting at {url(listening)}"))
    return ExitCode.DONE


def _read_token(file: Path | None) -> SecretStr | None:
    if file is None:
        source, text = _TOKEN, os.environ.get(_TOKEN)
    else:
        source = f"--token-file {file}"
        try:
            with file.open("rb") as stream:
                text = stream.read(_LARGEST_TOKEN_FILE).decode("ascii", "replace")
        except OSError as error:
            raise UserError(f"{source}: cannot be read: {error}") from error
    if text is None:
        return None
    token = text.strip()
    if len(token) < _SHORTEST_TOKEN or not all("!" <= c <= "~" for c in token):
        raise UserError(
            f"{source}: a token is one word of at least {_SHORTEST_TOKEN} ASCII characters. "
            "Make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'."
        )
    return SecretStr(token)
