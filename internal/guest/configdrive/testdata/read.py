# Reads the tree of a config drive as cloud-init does, and prints what it understood as JSON.
# usage: PYTHONPATH=... python3 read.py FOLDER MAC...
import base64
import json
import sys

from cloudinit.sources import DataSourceConfigDrive, convert_vendordata
from cloudinit.sources.helpers import openstack

read = DataSourceConfigDrive.read_config_drive(sys.argv[1])
names = {mac: "eth%d" % n for n, mac in enumerate(sys.argv[2:])}
userdata = read.get("userdata") or b""
if isinstance(userdata, str):
    userdata = userdata.encode()
json.dump({
    "version": read["version"],
    "instance_id": read["metadata"].get("instance-id"),
    "hostname": read["metadata"].get("local-hostname"),
    "public_keys": read["metadata"].get("public_keys"),
    "random_seed": base64.b64encode(read["metadata"]["random_seed"]).decode(),
    "user_data": base64.b64encode(userdata).decode(),
    "files": {path: base64.b64encode(contents).decode() for path, contents in read["files"].items()},
    "vendor_data": convert_vendordata(read["vendordata"]),
    "ec2": read["ec2-metadata"],
    "network": openstack.convert_net_json(read["networkdata"], known_macs=names),
}, sys.stdout)
