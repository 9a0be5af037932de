"""Two Syncthing devices on the loopback that know each other and nobody else: no discovery, relays, NAT or reports."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

from benchmarks.pairs import SIDES, Pair, Side
from benchmarks.processes import free_port
from benchmarks.tools.interface import RUN_SECONDS_MAX, Tool, first_line

FOLDER = "pair"
WATCHER_DELAY_SECONDS = "1"
"""The least it accepts."""
_OPTIONS = {
    "globalAnnounceEnabled": "false",
    "localAnnounceEnabled": "false",
    "relaysEnabled": "false",
    "natEnabled": "false",
    "crashReportingEnabled": "false",
    "startBrowser": "false",
    "urAccepted": "-1",
    "autoUpgradeIntervalH": "0",
    "reconnectionIntervalS": "1",
    "setLowPriority": "false",
}


class Syncthing(Tool):
    """Both ways."""

    name: ClassVar[str] = "syncthing"
    own_names: ClassVar[frozenset[str]] = frozenset({".stfolder"})

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)
        self._ports: dict[Side, int] = {"a": free_port(), "b": free_port()}

    def environment(self, pair: Pair) -> Mapping[str, str]:
        """Return that it does not look for newer versions, too."""
        return {**super().environment(pair), "STNOUPGRADE": "1"}

    @staticmethod
    def version() -> str | None:
        """Return the version of the installed program."""
        line = first_line("syncthing", "--version")
        return line.split()[1].removeprefix("v") if line else None

    def _home(self, side: Side) -> Path:
        return self.pair.own / f"syncthing-{side}"

    def prepare(self) -> None:
        """Make both devices, and have each know the other and the folder."""
        devices = {}
        for side in SIDES:
            words = ["syncthing", "generate", "--no-default-folder", "--skip-port-probing", "--home"]
            self.processes.run([*words, self._home(side)], RUN_SECONDS_MAX)
            words = ["syncthing", "serve", "--device-id", "--home"]
            devices[side] = self.processes.run([*words, self._home(side)], RUN_SECONDS_MAX).strip()
            (self.pair.at(side) / ".stfolder").mkdir(exist_ok=True)
        for side in SIDES:
            self._write_config(side, devices)

    def _write_config(self, side: Side, devices: Mapping[Side, str]) -> None:
        path = self._home(side) / "config.xml"
        tree = ElementTree.parse(path)
        root = tree.getroot()
        for kind in ("device", "folder"):
            for element in root.findall(kind):
                root.remove(element)
        folder = ElementTree.SubElement(root, "folder", id=FOLDER, label=FOLDER, path=str(self.pair.at(side)))
        folder.attrib |= {"type": "sendreceive", "rescanIntervalS": "3600", "fsWatcherEnabled": "true"}
        folder.attrib |= {"fsWatcherDelayS": WATCHER_DELAY_SECONDS}
        for other, device in devices.items():
            ElementTree.SubElement(folder, "device", id=device)
            element = ElementTree.SubElement(root, "device", id=device, name=other)
            ElementTree.SubElement(element, "address").text = f"tcp://127.0.0.1:{self._ports[other]}"
        options = root.find("options")
        gui = root.find("gui")
        if options is None or gui is None:
            raise OSError(f"{path} is not a configuration of Syncthing")
        _set(options, {**_OPTIONS, "listenAddress": f"tcp://127.0.0.1:{self._ports[side]}"})
        _set(gui, {"address": f"127.0.0.1:{free_port()}", "apikey": secrets.token_hex(16)})
        tree.write(path)

    def start(self) -> None:
        """Start both devices."""
        for side in SIDES:
            words = ["syncthing", "serve", "--no-browser", "--no-restart", "--home"]
            self.processes.start([*words, self._home(side)])


def _set(parent: ElementTree.Element, values: Mapping[str, str]) -> None:
    for name, text in values.items():
        for element in parent.findall(name):
            parent.remove(element)
        ElementTree.SubElement(parent, name).text = text
