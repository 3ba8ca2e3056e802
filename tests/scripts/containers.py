"""Starts containers as plain processes: the settings, arguments, user and probes are those of their image and their
service, the root file system is read-only, and only ports and names of other containers are replaced. Needs root."""

import json
import os
import re
import shlex
import socket
import subprocess
import urllib.error
import urllib.request

from server import until

# Where the image keeps its files.
HOME = "/var/lib/orderly"
# A role that only reads ends until another one has made the event store. An engine starts it again.
RESTARTS_MAX = 60
PORTS = iter(range(28_000 + os.getpid() % 2_000, 32_000))


class Image:
    """The last stage of a Dockerfile."""

    def __init__(self, dockerfile):
        text = re.sub(r"\\\n", " ", open(dockerfile).read())
        stage = re.split(r"(?m)^FROM ", text)[-1]
        self.environment, self.ports, self.volumes, self.health = {}, [], [], None
        for line in stage.splitlines():
            word, _, rest = line.strip().partition(" ")
            if word == "ENV":
                self.environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))
            elif word == "USER":
                self.user = rest
            elif word == "EXPOSE":
                self.ports += [int(port) for port in rest.split()]
            elif word == "VOLUME":
                self.volumes.append(rest)
            elif word == "HEALTHCHECK":
                self.health = json.loads(rest[rest.index("CMD") + 3:])
            elif word in ("ENTRYPOINT", "CMD"):
                setattr(self, word.lower(), json.loads(rest))


def free_port():
    """Below the ports that the kernel gives to outgoing connections, and never the same one twice."""
    for port in PORTS:
        with socket.socket() as probe:
            try:
                probe.bind(("0.0.0.0", port))
                return port
            except OSError:
                continue
    raise SystemExit("no port is free")


class Container:
    """One process of the image. `names` are the addresses of other containers, as `NAME:PORT`."""

    def __init__(self, name, image, binary, volume, environment, arguments=None, read_only=True):
        self.name, self.image, self.binary, self.volume = name, image, binary, volume
        self.arguments, self.read_only = arguments or image.cmd, read_only
        self.given, self.process, self.restarts_left = environment, None, RESTARTS_MAX
        values = [value for value in (image.environment | environment).values()]
        listening = {int(found[1]) for value in values if (found := re.fullmatch(r"0\.0\.0\.0:(\d+)", value))}
        self.ports = {port: free_port() for port in listening}

    def environment(self, names):
        """Without the settings of this machine."""
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
        for name, value in (self.image.environment | self.given).items():
            if found := re.fullmatch(r"0\.0\.0\.0:(\d+)", value):
                value = f"0.0.0.0:{self.ports[int(found[1])]}"
            for other, address in names.items():
                value = value.replace(other, address)
            environment[name] = value
        return environment

    def command(self, arguments):
        """In a mount namespace of its own, as the user of the image and without any capability."""
        user, group = self.image.user.split(":")
        entry = [self.binary if word == "orderly" else word for word in self.image.entrypoint]
        volume = shlex.quote(self.volume)
        mounts = [f"mount -t tmpfs tmpfs {os.path.dirname(HOME)}", f"mkdir {HOME}", f"mount --bind {volume} {HOME}",
                  "mount -t tmpfs -o mode=1777 tmpfs /tmp", f"cd {HOME}"]
        if self.read_only:
            mounts.append("mount -o remount,bind,ro /")
        inside = " && ".join(mounts + ['exec "$@"'])
        drop = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs", "--inh-caps=-all",
                "--bounding-set=-all"]
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", inside, "sh", *drop, *entry, *arguments]

    def start(self, names):
        self.names = names
        self.log = open(f"{self.volume}.{self.name}.log", "ab")
        self.process = subprocess.Popen(self.command(self.arguments), env=self.environment(names), stdout=self.log,
                                        stderr=self.log)

    def run(self, arguments, names):
        """Runs another command in the same surroundings. Returns its exit code and output."""
        done = subprocess.run(self.command(arguments), env=self.environment(names), capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    def is_healthy(self, names):
        """Runs the health check of the image."""
        assert self.image.health[0] == self.image.entrypoint[0]
        return self.run(self.image.health[1:], names)[0] == 0

    def answers(self, port, path):
        self.check_runs()
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.ports[port]}{path}", timeout=5).status == 200
        except urllib.error.URLError:
            return False

    def until_healthy(self, names):
        def is_healthy():
            self.check_runs()
            return self.is_healthy(names)
        try:
            until(f"{self.name} is healthy", is_healthy, 60, 0.5)
        except SystemExit as late:
            said = self.run(self.image.health[1:], names)
            raise SystemExit(f"{late}\n{said}\n{open(self.log.name).read()[-3000:]}") from None
        self.restarts_left = 0

    def check_runs(self):
        if self.process.poll() is None:
            return
        if self.restarts_left == 0:
            raise SystemExit(f"{self.name} has ended: {open(self.log.name).read()[-3000:]}")
        self.restarts_left -= 1
        self.start(self.names)

    def check_user(self):
        status = open(f"/proc/{self.process.pid}/status").read()
        user = self.image.user.split(":")[0]
        assert re.search(rf"^Uid:\s+{user}\s", status, re.M), f"{self.name} runs as another user"
        mounts = open(f"/proc/{self.process.pid}/mountinfo").read()
        is_read_only = re.search(r"^\S+ \S+ \S+ \S+ / ro[, ]", mounts, re.M) is not None
        assert is_read_only == self.read_only, f"{self.name}: the root is read-only: {is_read_only}"
        assert re.search(r"^CapBnd:\s+0+$", status, re.M), f"{self.name} may get capabilities"

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
        if self.process:
            assert self.process.wait(60) == 0, f"{self.name} ended with {self.process.returncode}"

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
