"""The command line: `advisor`."""

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; the process exits with a code of `ExitCode`."""
    from policies import ThinkrouteError

    from ._app import app
    from ._exit import ExitCode, exit_code_of, show_error

    try:
        app(prog_name="advisor")
    except ThinkrouteError as error:
        if os.environ.get("THINKROUTE_DEBUG"):
            raise
        show_error(error)
        sys.exit(exit_code_of(error))
    except BrokenPipeError:
        # The reader of a pipe went away; writing to it again at exit would fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.DONE)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(ExitCode.INTERRUPTED)
