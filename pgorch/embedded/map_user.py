"""Runs a program in a user namespace in which this user has another number:

    python map_user.py UID GID PROGRAM [ARGUMENT...]

PostgreSQL refuses to run as root, and `initdb` refuses users without an entry in the password file; both look
at the number only. Inside the namespace the number is UID, outside nothing changes: files stay with their
owner. A program of its own, because a process with threads cannot enter a namespace, and code that runs
between fork and exec in a process with threads may deadlock. Standard library only; it is started with `-I
-S`.
"""

import ctypes
import os
import sys

CLONE_NEWUSER = 0x10000000


def main() -> None:
    uid, gid, program = sys.argv[1], sys.argv[2], sys.argv[3:]
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        error = ctypes.get_errno()
        sys.exit(f"user namespace refused: {os.strerror(error)}")
    try:
        write("/proc/self/setgroups", "deny")
        write("/proc/self/uid_map", f"{uid} {outer_uid} 1")
        write("/proc/self/gid_map", f"{gid} {outer_gid} 1")
    except OSError as error:
        sys.exit(f"user namespace refused: {error}")
    os.execv(program[0], program)


def write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
