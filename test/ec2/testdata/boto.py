import base64
import os

import boto3
from botocore.exceptions import ClientError

at = dict(endpoint_url=os.environ["ENDPOINT"], verify=os.environ.get("AWS_CA_BUNDLE", True))
ec2 = boto3.resource("ec2", **at)
client = ec2.meta.client


def refused(code, call, **parameters):
    try:
        call(**parameters)
    except ClientError as e:
        assert e.response["Error"]["Code"] == code, e
        assert e.response["ResponseMetadata"]["RequestId"].startswith("req-"), e
        return
    raise AssertionError("%s was not refused" % parameters)


def wait(state):
    client.get_waiter("instance_" + state).wait(InstanceIds=[made.id], WaiterConfig={"Delay": 1, "MaxAttempts": 60})


assert boto3.client("sts", **at).get_caller_identity()["Account"] == os.environ["PROJECT"]
image = ec2.Image(os.environ["IMAGE"])
assert image.state == "available" and image.name == "noise", image.meta.data

pair = ec2.create_key_pair(KeyName="boto")
assert pair.key_material.startswith("-----BEGIN RSA PRIVATE KEY-----")
(made,) = ec2.create_instances(
    ImageId=image.id, InstanceType="small", MinCount=1, MaxCount=1, KeyName="boto", UserData="#!/bin/true", ClientToken="boto",
)
# The same again, with the same token.
(again,) = ec2.create_instances(
    ImageId=image.id, InstanceType="small", MinCount=1, MaxCount=1, KeyName="boto", UserData="#!/bin/true", ClientToken="boto",
)
assert again.id == made.id
refused("IdempotentParameterMismatch", client.run_instances, ImageId=image.id, InstanceType="small", MinCount=1, MaxCount=2, ClientToken="boto")
made.create_tags(Tags=[{"Key": "Name", "Value": "of boto"}])  # while it is pending
wait("running")
made.reload()
assert made.tags == [{"Key": "Name", "Value": "of boto"}], made.tags
assert made.state == {"Code": 16, "Name": "running"}, made.state
assert made.key_name == "boto" and made.instance_type == "small"
assert made.private_ip_address == made.network_interfaces_attribute[0]["PrivateIpAddress"]
assert [i.id for i in ec2.Subnet(made.subnet_id).instances.all()] == [made.id]
assert [i.id for i in ec2.Vpc(made.vpc_id).instances.all()] == [made.id]
assert "Output" in made.console_output() or made.console_output()["InstanceId"] == made.id
made.stop()
wait("stopped")
made.start()
wait("running")
made.reboot()

pages = client.get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": 5})
assert [i["InstanceId"] for p in pages for r in p["Reservations"] for i in r["Instances"]] == [made.id]
assert client.describe_volumes()["Volumes"] == []
refused("InvalidInstanceID.NotFound", client.describe_instances, InstanceIds=["i-0123456789abcdef0"])
refused("DryRunOperation", client.terminate_instances, InstanceIds=[made.id], DryRun=True)
made.terminate()
wait("terminated")
refused("IncorrectInstanceState", client.stop_instances, InstanceIds=[made.id])
pair.delete()

# A presigned address.
url = client.generate_presigned_url("describe_regions", ExpiresIn=60)
import ssl
import urllib.request

context = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))
answer = urllib.request.urlopen(urllib.request.Request(url, method="POST"), context=context).read()
assert b"RegionOne" in answer, answer
print("came to the end")
