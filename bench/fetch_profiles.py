#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How well a cold mount uses its link: the real layerfs, a real registry, a modelled network.

usage: fetch_profiles.py LAYERFS NETMODEL [--profile NAME…] [--case NAME…] [--seconds N] [--quick]
                         [--server blob_server|docker-registry] [--tls] [--work DIR] [--json FILE]

For each profile (lan, cloud, wan, bad, or RTT,RATE) and each case the image is mounted with an empty
cache, and what readers get is set against what the link carries:
  stream        one reader goes through a large file
  readers16     sixteen readers, each through a file of its own
  small-order   small files, a directory after another
  small-random  the same files in random order
  random4k      reads of 4 KiB all over a large file, one after another
  beside-fill   the same while everything else streams in behind
"share" is wanted bytes by the link's rate and the time; on a link that is not shaped, by the time
that curl takes for a blob over the same model. "able" is the same against what this machine carries
through curl, zstd -d and a SHA-256 over the same model, where that is less than the link; "curl" is the
share that curl alone gets of the link, in one stream to /dev/null; "warm" is that of a second mount that
has everything in its cache: what the reader's own calls through FUSE leave possible. "moved" is
bytes over the link by wanted bytes. The bound of a demand read's 99th percentile is three round trips
and its own chunk at the link's rate. "cpu" is what all the machine's processors were used while the
case ran, "own" the part of that which layerfs had, and "model" the network model's and the server's.
It is served by blob_server.py, which leaves the processors to what is measured. docker-registry speaks https
too (--tls), and then HTTP/2: demand reads and the fill share a connection.
"first" is when the first read was answered: after the chunk table's segment and the first chunk, whole. On
a fast link that is a good part of a case that takes a quarter of a second.
A stream that ends within its file leaves readahead behind it: on slow links "moved" shows that.
The content does not compress, so a file's bytes and the link's are the same. Needs root, /dev/fuse
and docker-registry. --quick proves that all of it works, on little data, and measures nothing.
"""
import argparse
import hashlib
import io
import json
import os
import pathlib
import platform
import random
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

CHUNK = 256 << 10  # what convert cuts large files into
RATES = {"lan": (0.0002, 0), "cloud": (0.002, 125e6), "wan": (0.030, 12.5e6), "bad": (0.150, 1.25e6)}
CASES = ("stream", "readers16", "small-order", "small-random", "random4k", "beside-fill")


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, **options)


class Content:
    """What is in the image; the same on each run."""

    def __init__(self, quick):
        self.large = (32 << 20) if quick else (1 << 30)
        self.probed = (16 << 20) if quick else (256 << 20)
        self.own = (1 << 20) if quick else (32 << 20)
        self.small = 200 if quick else 2000

    def small_files(self):
        """(path, size) in directory order: 1 to 24 KiB, fifty a directory."""
        dice = random.Random(2)
        return [(f"small/{i // 50:03}/file-{i:04}", dice.randint(1 << 10, 24 << 10)) for i in range(self.small)]

    def files(self):
        yield "large", self.large
        yield "probed", self.probed
        yield from ((f"own/{i:02}", self.own) for i in range(16))
        yield from self.small_files()

    def write_tar(self, out):
        dice = random.Random(1)
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for directory in ["own", "small"] + sorted({p.rsplit("/", 1)[0] for p, _ in self.small_files()}):
                info = tarfile.TarInfo(directory)
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            for path, size in self.files():
                info = tarfile.TarInfo(path)
                info.size = size
                tar.addfile(info, Noise(dice, size))


class Noise(io.RawIOBase):
    def __init__(self, dice, size):
        self.dice, self.left = dice, size

    def read(self, size=-1):
        size = self.left if size < 0 else min(size, self.left)
        self.left -= size
        return self.dice.randbytes(size)


def make_layout(content, layout):
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)

    def name(path):
        digest = hashlib.sha256()
        with open(path, "rb") as blob:
            while block := blob.read(1 << 20):
                digest.update(block)
        size = path.stat().st_size
        path.rename(blobs / digest.hexdigest())
        return {"digest": "sha256:" + digest.hexdigest(), "size": size}

    def add(document):
        (layout / "new").write_text(json.dumps(document))
        return name(layout / "new")

    with open(layout / "new", "wb") as out:
        content.write_tar(out)
    layer = name(layout / "new") | {"mediaType": "application/vnd.oci.image.layer.v1.tar"}
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    config = add({"architecture": machine, "os": "linux",
                  "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}})
    manifest = add({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": config | {"mediaType": "application/vnd.oci.image.config.v1+json"},
                    "layers": [layer]})
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [
        manifest | {"mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "annotations": {"org.opencontainers.image.ref.name": "latest"}}]}))


def make_certificate(work):
    """For a registry on the loopback, by itself: (certificate, key)."""
    certificate, key = work / "registry.crt", work / "registry.key"
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=registry", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate,
        stderr=subprocess.DEVNULL)
    return certificate, key


def cpu_seconds(pid):
    """What the process has used; 0 once it has ended."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine_cpu_seconds():
    """What all of the machine's processors have been used for: neither idle nor waiting for a disk."""
    fields = [int(field) for field in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


class Registry:
    def __init__(self, work, certificate=None):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        config = work / "registry.yml"
        tls = f", tls: {{certificate: {certificate[0]}, key: {certificate[1]}}}" if certificate else ""
        config.write_text(f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
                          f"storage: {{filesystem: {{rootdirectory: {work}/registry}}}}\n"
                          f"http: {{addr: '{self.address}'{tls}}}\n")
        self.process = subprocess.Popen(["docker-registry", "serve", str(config)],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            with socket.socket() as probe:
                host, port = self.address.split(":")
                if probe.connect_ex((host, int(port))) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError("the registry does not answer")

    def stop(self):
        self.process.terminate()
        self.process.wait()


class BlobServer:
    """Of what the registry has on its disk."""

    def __init__(self, work):
        self.process = subprocess.Popen([sys.executable, "-B", pathlib.Path(__file__).with_name("blob_server.py"),
                                         work / "registry"], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.address = f"127.0.0.1:{int(self.process.stdout.readline())}"

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


class Network:
    """layerfs-netmodel before the server."""

    def __init__(self, netmodel, profile, target):
        self.process = subprocess.Popen([netmodel, "--profile", profile, target], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.address = f"127.0.0.1:{int(self.process.stdout.readline())}"

    def statistics(self):
        self.process.stdin.write("stats\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


class Mount:
    def __init__(self, bed, network, fill, warm=False):
        self.bed = bed
        self.network = network
        self.cache = bed.work / "cache"
        self.first = None  # seconds until the first read was answered
        if not warm:
            shutil.rmtree(self.cache, ignore_errors=True)
        self.root = bed.work / "mnt"
        self.root.mkdir(exist_ok=True)
        options = [f"--fill={'full' if fill else 'off'}"] if bed.can_fill else []
        self.daemon = subprocess.Popen(
            [bed.layerfs, "mount", "-f", "--cache", self.cache, "--log", bed.work / "mount.log", *options,
             *bed.trust, f"docker://{network.address}/bench:lazy", self.root], stderr=subprocess.DEVNULL)
        while not os.path.ismount(self.root):
            if self.daemon.poll() is not None:
                raise RuntimeError("the mount failed: " + (bed.work / "mount.log").read_text()[-1000:])
            time.sleep(0.002)
        self.mounted = time.monotonic()

    def read_through(self, path, limit, piece=128 << 10):
        """Reads the file's first `limit` bytes in order; returns how many there were."""
        got = 0
        with open(self.root / path, "rb", buffering=0) as file:
            while got < limit and (block := file.read(min(piece, limit - got))):
                if self.first is None:
                    self.first = time.monotonic() - self.mounted
                got += len(block)
        return got

    def wait_for_fill(self):
        """Until it has brought something: it lets what starts up in the mount go first."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            status = json.loads(run(self.bed.layerfs, "stat", "--json", self.root, capture_output=True, text=True).stdout)
            if status["fill"]["fetchedBytes"] > 0:
                return
            time.sleep(0.05)
        raise TimeoutError("the fill has brought nothing in 20 s")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        run(self.bed.layerfs, "umount", "-l", self.root)
        self.daemon.wait()


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


class Bed:
    def __init__(self, options):
        self.layerfs, self.netmodel = options.layerfs, options.netmodel
        self.quick, self.seconds = options.quick, options.seconds
        self.work = pathlib.Path(options.work or tempfile.mkdtemp(prefix="layerfs-bench-", dir="/var/tmp"))
        self.keep = options.work is not None
        self.content = Content(options.quick)
        help_text = run(self.layerfs, "mount", "--help", capture_output=True, text=True).stdout
        self.can_fill = "--fill" in help_text
        made = self.work / "registry"
        self.work.mkdir(exist_ok=True)
        fresh = not made.exists()
        certificate = make_certificate(self.work) if options.tls else None
        # For layerfs and for curl.
        self.trust = ["--ca", str(certificate[0])] if certificate else []
        self.curl = f"curl -sfL {f'--cacert {certificate[0]} https' if certificate else 'http'}"
        self.registry = Registry(self.work, certificate)
        if fresh:
            layout = self.work / "layout"
            make_layout(self.content, layout)
            run(self.layerfs, "convert", "-q", *self.trust, "--cache", self.work / "convert-cache", f"oci:{layout}:latest",
                f"docker://{self.registry.address}/bench:lazy", stdout=subprocess.DEVNULL)
            shutil.rmtree(layout)
        manifest = json.loads(run(self.layerfs, "inspect", "--json", *self.trust, f"docker://{self.registry.address}/bench:lazy",
                                  capture_output=True, text=True).stdout)
        self.layer = max(manifest["layers"], key=lambda layer: layer["size"])
        if options.server == "blob_server" and not options.tls:
            self.registry.stop()
            self.registry = BlobServer(self.work)

    def close(self):
        self.registry.stop()
        if not self.keep:
            shutil.rmtree(self.work)

    def blob_command(self, network):
        return f"{self.curl}://{network.address}/v2/bench/blobs/{self.layer['digest']}"

    def curl_rate(self, network, link_rate):
        """Bytes per second of one stream without layerfs: the rate of links without one of their own."""
        limit = int(min(self.layer["size"], 512 << 20, link_rate * 4 or 512 << 20))
        start = time.monotonic()
        subprocess.run(f"{self.blob_command(network)} -o /dev/null -r 0-{limit - 1}", shell=True, check=True)
        return limit / (time.monotonic() - start)

    def able_rate(self, network, link_rate):
        """Bytes per second of one stream that is decompressed and hashed, without layerfs."""
        limit = int(min(self.layer["size"], 512 << 20, link_rate * 4))
        start = time.monotonic()
        subprocess.run(f"{self.blob_command(network)} -r 0-{limit - 1}"
                       " | zstd -dcq 2>/dev/null | openssl dgst -sha256 >/dev/null", shell=True, check=True)
        return limit / (time.monotonic() - start)

    def warm_share(self, network, link_rate, case):
        """Of the link, what the same reads get where everything is cached; files that are small only."""
        with Mount(self, network, False, warm=True) as mount:
            start = time.monotonic()
            wanted, _ = self.run_case(case, mount, 0)
            return round(wanted / (time.monotonic() - start) / link_rate, 3)

    def run_case(self, case, mount, budget):
        return getattr(self, "case_" + case.replace("-", "_"))(mount, budget)

    def measure(self, profile, case):
        network = Network(self.netmodel, profile, self.registry.address)
        try:
            round_trip, rate = RATES.get(profile, (0, 0))
            curl = self.curl_rate(network, rate)
            link_rate = rate or curl
            # On a slow link it is the link that is measured.
            fast = link_rate > 50e6 and shutil.which("zstd") and shutil.which("openssl")
            able = min(link_rate, self.able_rate(network, link_rate)) if fast else link_rate
            budget = int(link_rate * self.seconds)  # what the link carries in the time that is spent
            with Mount(self, network, case == "beside-fill") as mount:
                before = network.statistics()
                watched = {"own": [mount.daemon.pid], "model": [network.process.pid, self.registry.process.pid]}
                used = {name: sum(map(cpu_seconds, pids)) for name, pids in watched.items()}
                machine = machine_cpu_seconds()
                start = time.monotonic()
                wanted, waits = self.run_case(case, mount, budget)
                took = time.monotonic() - start
                machine = machine_cpu_seconds() - machine
                used = {name: sum(map(cpu_seconds, pids)) - used[name] for name, pids in watched.items()}
                moved = network.statistics()["down_bytes"] - before["down_bytes"]
            result = {"profile": profile, "case": case, "seconds": round(took, 3), "wanted": wanted,
                      "moved": round(moved / wanted, 3), "share": round(wanted / took / link_rate, 3),
                      "able": round(wanted / took / able, 3), "curl": round(curl / link_rate, 3), "link_mbit": round(link_rate * 8e-6),
                      "cpu": round(machine / took / os.cpu_count(), 2),
                      "own_cpu": round(used["own"] / took / os.cpu_count(), 2),
                      "model_cpu": round(used["model"] / took / os.cpu_count(), 2),
                      "own_cpu_seconds_per_gb": round(used["own"] / moved * 1e9, 2),
                      "load": round(os.getloadavg()[0], 1)}
            if mount.first is not None:
                result["first_ms"] = round(mount.first * 1e3, 1)
            if case.startswith("small"):
                result["warm"] = self.warm_share(network, link_rate, case)
            if waits:
                result |= {"p50_ms": round(percentile(waits, 0.5) * 1e3, 2),
                           "p99_ms": round(percentile(waits, 0.99) * 1e3, 2), "reads": len(waits),
                           "bound_ms": round((3 * round_trip + CHUNK / link_rate) * 1e3, 2)}
            return result
        finally:
            network.stop()

    def case_stream(self, mount, budget):
        return mount.read_through("large", budget), None

    def case_readers16(self, mount, budget):
        got = [0] * 16

        def read(i):
            got[i] = mount.read_through(f"own/{i:02}", budget // 16)

        threads = [threading.Thread(target=read, args=(i,)) for i in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(got), None

    def small(self, mount, files):
        """All of them, however slow the link: a part ends within a chunk of many files, all of which came."""
        return sum(mount.read_through(path, size) for path, size in files), None

    def case_small_order(self, mount, _budget):
        return self.small(mount, self.content.small_files())

    def case_small_random(self, mount, _budget):
        files = self.content.small_files()
        random.Random(3).shuffle(files)
        return self.small(mount, files)

    def case_random4k(self, mount, _budget):
        """Each in a chunk of its own, so that each has to come."""
        chunks = list(range(self.content.probed // CHUNK))
        random.Random(4).shuffle(chunks)
        file = os.open(mount.root / "probed", os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
        waits = []
        begin = time.monotonic()
        for chunk in chunks[:500]:
            start = time.monotonic()
            assert len(os.pread(file, 4096, chunk * CHUNK + 4096 * (chunk % 64))) == 4096
            waits.append(time.monotonic() - start)
            if time.monotonic() - begin > self.seconds and len(waits) >= 20:
                break
        os.close(file)
        return len(waits) * 4096, waits

    def case_beside_fill(self, mount, budget):
        """Where the mount does not fill by itself, a reader of the large file stands for it."""
        reader = None
        if not self.can_fill:
            reader = subprocess.Popen(["cat", str(mount.root / "large")], stdout=subprocess.DEVNULL)
        else:
            mount.wait_for_fill()
        time.sleep(0.3 if self.quick else 2.5)  # until it runs at full rate
        wanted, waits = self.case_random4k(mount, budget)
        if reader is not None:
            reader.kill()
            reader.wait()
        return wanted, waits


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("layerfs")
    parser.add_argument("netmodel")
    parser.add_argument("--profile", action="append")
    parser.add_argument("--case", action="append", choices=CASES)
    parser.add_argument("--seconds", type=float, default=10, help="of the link's time, a case")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--server", choices=("blob_server", "docker-registry"), default="blob_server")
    parser.add_argument("--tls", action="store_true", help="docker-registry, by https and HTTP/2")
    parser.add_argument("--work", help="is kept, with the image in it, for the next run")
    parser.add_argument("--json", help="results go there too")
    options = parser.parse_args()
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse") or shutil.which("docker-registry") is None:
        print("skipped: needs root, /dev/fuse and docker-registry")
        return 1 if os.environ.get("CI") == "true" else 77
    if options.quick:
        options.seconds = 0.5
    profiles = options.profile or (["lan", "cloud"] if options.quick else list(RATES))
    bed = Bed(options)
    results = []
    try:
        print(f"{'profile':8} {'case':13} {'share':>6} {'able':>6} {'curl':>6} {'warm':>6} {'moved':>7} {'seconds':>8} {'first ms':>8} {'p50 ms':>8} {'p99 ms':>8} {'bound':>8} {'cpu':>5} {'own':>5} {'model':>5} {'load':>5}")
        for profile in profiles:
            for case in options.case or CASES:
                result = bed.measure(profile, case)
                results.append(result)
                print(f"{profile:8} {case:13} {result['share']:6.3f} {result['able']:6.3f} {result['curl']:6.3f} {result.get('warm', ''):>6} "
                      f"{result['moved']:7.2f} {result['seconds']:8.2f} {result.get('first_ms', ''):>8} "
                      f"{result.get('p50_ms', ''):>8} {result.get('p99_ms', ''):>8} {result.get('bound_ms', ''):>8} "
                      f"{result['cpu']:5.2f} {result['own_cpu']:5.2f} {result['model_cpu']:5.2f} {result['load']:5.1f}",
                      flush=True)
    finally:
        bed.close()
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
