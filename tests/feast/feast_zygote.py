"""A process that has imported Feast's command line, and runs each command in a fork of itself.

It reads a line of JSON per command: `arguments`, and `output`, the file of what the command prints.
It prints the command's process id, and once that ended its exit status. Importing Feast takes as
long as the commands themselves; without torch, which Feast takes where it finds it, half as long.
"""

import json
import os
import sys


def main() -> None:
    sys.modules["torch"] = None
    from feast.cli.cli import cli

    for line in sys.stdin:
        command = json.loads(line)
        pid = os.fork()
        if pid == 0:
            output = os.open(command["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for descriptor in (1, 2):
                os.dup2(output, descriptor)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            cli(command["arguments"])  # ends the process
        print(pid, flush=True)
        if not command["background"]:
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
