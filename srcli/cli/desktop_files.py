"""The files that add "Enlarge" to the context menu of a file manager, as data."""

import plistlib
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAME = "Enlarge"
_MARK = "Written by `sr desktop install`; `sr desktop remove` removes it."
_MIME_TYPES = "image/png;image/jpeg;image/webp;image/tiff;image/bmp;image/gif;image/avif;image/heif;"


@dataclass(frozen=True)
class DesktopFile:
    """A file of a context menu; `is_executable`: the file manager runs it as a program."""

    path: Path
    content: bytes
    is_executable: bool = False


def list_files(system: str, home: Path, command: Sequence[str]) -> tuple[DesktopFile, ...]:
    """Return the files for the file managers of `system`, a value of `sys.platform`.

    `command` upscales the files that are appended to it.
    """
    if system == "darwin":
        return _list_finder(home / "Library" / "Services" / f"{NAME}.workflow" / "Contents", command)
    if system == "win32":
        folder = home / "AppData" / "Roaming" / "Microsoft" / "Windows" / "SendTo"
        return (DesktopFile(folder / f"{NAME}.cmd", _write_batch(command)),)
    share = home / ".local" / "share"
    return (
        DesktopFile(share / "nautilus" / "scripts" / NAME, _write_script(command), is_executable=True),
        DesktopFile(
            share / "kio" / "servicemenus" / "sr-enlarge.desktop",
            _write_service_menu(command),
            is_executable=True,
        ),
    )


def get_command(words: Sequence[str]) -> tuple[str, ...]:
    """Return the command `sr upscale` with options, by the full path of this Python."""
    return (sys.executable, "-m", "srcli", "upscale", *words)


def _write_script(command: Sequence[str]) -> bytes:
    """Return Nautilus's script. It gets the selected files in a variable, one a line, and has no terminal."""
    return f"""#!/bin/sh
# {_MARK}
message=$(printf '%s' "$NAUTILUS_SCRIPT_SELECTED_FILE_PATHS" | {shlex.join(command)} --files-from - 2>&1)
code=$?
if command -v notify-send >/dev/null; then
  notify-send {NAME} "$(printf '%s' "$message" | tail -n 3)"
fi
exit $code
""".encode()


def _write_service_menu(command: Sequence[str]) -> bytes:
    """Return Dolphin's entry. https://develop.kde.org/docs/apps/dolphin/service-menus/"""
    quoted = " ".join(_quote_for_entry(word) for word in command)
    return f"""# {_MARK}
[Desktop Entry]
Type=Service
MimeType={_MIME_TYPES}
Actions=enlarge

[Desktop Action enlarge]
Name={NAME}
Icon=zoom-in
Exec={quoted} %F
""".encode()


def _quote_for_entry(word: str) -> str:
    """Quote a word for `Exec`, where % starts a field code and backslashes are read twice."""
    escaped = word.replace("\\", "\\\\\\\\").replace("%", "%%")
    for character in '"`$':
        escaped = escaped.replace(character, f"\\\\{character}")
    return f'"{escaped}"'


def _write_batch(command: Sequence[str]) -> bytes:
    """Return Explorer's entry below "Send to": its window stays open if something failed."""
    quoted = " ".join(f'"{word.replace("%", "%%")}"' for word in command)
    lines = ("@echo off", f"rem {_MARK}", "chcp 65001 >nul", f"{quoted} %*", "if errorlevel 1 pause", "")
    return "\r\n".join(lines).encode()


def _list_finder(folder: Path, command: Sequence[str]) -> tuple[DesktopFile, ...]:
    """Return a Quick Action for images in Finder: Automator's action "Run Shell Script"."""
    service = {
        "NSMenuItem": {"default": NAME},
        "NSMessage": "runWorkflowAsService",
        "NSRequiredContext": {"NSApplicationIdentifier": "com.apple.finder"},
        "NSSendFileTypes": ["public.image"],
    }
    text = {"Container": "List", "Types": ["com.apple.cocoa.string"]}
    action = {
        "AMAccepts": text | {"Optional": True},
        "AMActionVersion": "2.0.3",
        "AMApplication": ["Automator"],
        "AMProvides": text,
        "ActionBundlePath": "/System/Library/Automator/Run Shell Script.action",
        "ActionName": "Run Shell Script",
        "ActionParameters": {
            "COMMAND_STRING": f'# {_MARK}\n{shlex.join(command)} "$@"\n',
            "CheckedForUserDefaultShell": True,
            "inputMethod": 1,  # the selected files are the arguments
            "shell": "/bin/sh",
            "source": "",
        },
        "BundleIdentifier": "com.apple.RunShellScript",
        "CFBundleVersion": "2.0.3",
        "Class Name": "RunShellScriptAction",
    }
    workflow = {
        "AMApplicationVersion": "2.10",
        "AMDocumentVersion": "2",
        "actions": [{"action": action, "isViewVisible": 1}],
        "connectors": {},
        "workflowMetaData": {
            "serviceInputTypeIdentifier": "com.apple.Automator.fileSystemObject.image",
            "serviceOutputTypeIdentifier": "com.apple.Automator.nothing",
            "serviceProcessesInput": 0,
            "workflowTypeIdentifier": "com.apple.Automator.servicesMenu",
        },
    }
    contents: dict[str, Any] = {"Info.plist": {"NSServices": [service]}, "document.wflow": workflow}
    return tuple(DesktopFile(folder / name, plistlib.dumps(content)) for name, content in contents.items())
