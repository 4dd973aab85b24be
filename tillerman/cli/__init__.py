"""The command line: the composition root, where adapters are chosen and errors become exit statuses."""

import io
import os
import sys

from tillerman.errors import TillermanError

#: Exit status of an error nobody foresaw: `sysexits.h` calls it EX_SOFTWARE.
UNFORESEEN = 70


def main() -> None:
    """Runs `tillerman` with this process's arguments, and exits with its status."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """The exit status of `tillerman` with these arguments; messages go to stderr, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        from tillerman.cli.app import app

        return int(app(arguments, prog_name="tillerman", standalone_mode=True) or 0)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except TillermanError as error:
        _say(error.message, error.hint)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("TILLERMAN_DEBUG"):
            raise
        _say(
            f"unforeseen {type(error).__name__}: {error}", "set TILLERMAN_DEBUG=1 to see where, and report it"
        )
        return UNFORESEEN


def _say(message: str, hint: str) -> None:
    sys.stderr.write(f"error: {message}\n")
    if hint:
        sys.stderr.write(f"\nhint: {hint}\n")
