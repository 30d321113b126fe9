"""Follows a feed as The Update Framework's own client does, from a root that is given.

    verify.py FEED_FOLDER ROOT_JSON

The folder is served over HTTP on loopback. Every file of the release is downloaded and checked.
Prints one line of JSON: the versions that were seen, and the names of the files.
"""

import functools
import http.server
import json
import sys
import tempfile
import threading

from tuf.ngclient import Updater


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def main():
    feed, root = sys.argv[1:]
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=feed)
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_address[1]}"
    with tempfile.TemporaryDirectory() as state, tempfile.TemporaryDirectory() as got:
        with open(root, "rb") as file:
            bootstrap = file.read()
        updater = Updater(
            state,
            f"{base}/metadata/",
            target_dir=got,
            target_base_url=f"{base}/targets/",
            bootstrap=bootstrap,
        )
        updater.refresh()
        trusted = updater._trusted_set
        for name in trusted.targets.targets:
            info = updater.get_targetinfo(name)
            assert info is not None, name
            path = updater.download_target(info)
            with open(path, "rb") as file:
                info.verify_length_and_hashes(file)
        print(
            json.dumps(
                {
                    "root": trusted.root.version,
                    "timestamp": trusted.timestamp.version,
                    "snapshot": trusted.snapshot.version,
                    "targets": trusted.targets.version,
                    "files": sorted(trusted.targets.targets),
                }
            )
        )


main()
