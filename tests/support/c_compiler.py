"""Checks whether this machine can compile extension modules: it needs a C compiler and the headers of this Python.

`python -m tests.support.c_compiler WHAT` prints nothing if it can. Otherwise it prints one line with WHAT and the
reason, and exits with 1. It uses only the standard library.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig


def obstacle() -> str | None:
    """Return why extension modules cannot be compiled here; None if they can.

    The compiler is the one that setuptools uses: `CC` from the environment, or the one that built this Python.
    """
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    headers = [f"-I{sysconfig.get_path(name)}" for name in ("include", "platinclude")]
    command = [*compiler, *headers, "-fsyntax-only", "-x", "c", "-"]
    try:
        done = subprocess.run(command, input="#include <Python.h>\n", capture_output=True, text=True, check=False)
    except OSError:
        return f"there is no C compiler '{compiler[0]}'"
    return f"the C compiler '{compiler[0]}' does not find Python.h and the C library" if done.returncode else None


def main() -> None:
    """Prints the obstacle, if there is one, and exits."""
    if reason := obstacle():
        print(f"{' '.join(sys.argv[1:])}: {reason}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
