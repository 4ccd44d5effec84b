# Reads the metadata service as cloud-init does, and prints what it understood as JSON.
# usage: PYTHONPATH=... python3 read.py URL
import base64
import json
import sys

from cloudinit.sources import convert_vendordata
from cloudinit.sources.helpers import ec2, openstack


class Reader(openstack.MetadataReader):
    def _read_ec2_metadata(self):  # cloud-init's own, at the address that is given
        return ec2.get_instance_metadata(metadata_address=self.base_path, timeout=self.timeout, retries=0)


read = Reader(sys.argv[1], retries=0).read_v2()
json.dump({
    "version": read["version"],
    "instance_id": read["metadata"].get("instance-id"),
    "hostname": read["metadata"].get("local-hostname"),
    "public_keys": read["metadata"].get("public_keys"),
    "random_seed": base64.b64encode(read["metadata"]["random_seed"]).decode(),
    "user_data": base64.b64encode(read.get("userdata") or b"").decode(),
    "files": {path: base64.b64encode(contents).decode() for path, contents in read["files"].items()},
    "vendor_data": convert_vendordata(read["vendordata"]),
    "ec2": read["ec2-metadata"],
    "ec2_user_data": base64.b64encode(ec2.get_instance_userdata(metadata_address=sys.argv[1], retries=0)).decode(),
    "network": [link["mac_address"] for link in openstack.convert_net_json(read["networkdata"], known_macs={"fa:16:3e:00:00:01": "eth0"})["config"] if link["type"] == "physical"],
}, sys.stdout)
