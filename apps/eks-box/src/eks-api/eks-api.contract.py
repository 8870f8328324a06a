"""Calls every operation of the box's EKS API and EKS Auth with boto3, and checks each response against botocore's model
of the service: it may contain only members, types and errors that the service has. Prints the called operations."""

import json
import sys

import boto3
from botocore.exceptions import ClientError

NAME = "fastify-eks-cluster"
POLICY = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"
JSON_TYPES = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "timestamp": (int, float),
    "list": list,
    "map": dict,
    "structure": dict,
}

called = set()
eks = boto3.client("eks")
auth = boto3.client("eks-auth")


def role(name):
    return f"arn:aws:iam::123456789012:role/{name}"


def check_shape(shape, value, path):
    """Fails if a value does not match the shape."""
    assert isinstance(value, JSON_TYPES[shape.type_name]), f"{path} is {value!r}, not {shape.type_name}"
    if shape.type_name == "structure":
        for member, inner in value.items():
            assert member in shape.members, f"EKS has no {path}.{member}"
            check_shape(shape.members[member], inner, f"{path}.{member}")
    elif shape.type_name == "list":
        for inner in value:
            check_shape(shape.member, inner, f"{path}[]")
    elif shape.type_name == "map":
        for inner in value.values():
            check_shape(shape.value, inner, f"{path}{{}}")
    elif shape.type_name == "string" and shape.enum:
        assert value in shape.enum, f"{path} cannot be {value}"


def check_response(http_response, model, **_):
    called.add(model.name)
    body = json.loads(http_response.content)
    if http_response.status_code < 300:
        check_shape(model.output_shape, body, model.name)
        return
    code = http_response.headers["x-amzn-errortype"]
    error = next((shape for shape in model.error_shapes if shape.name == code), None)
    assert error is not None, f"{model.name} has no {code}"
    assert error.metadata["error"]["httpStatusCode"] == http_response.status_code, code
    assert body.pop("__type") == code
    check_shape(error, body, code)


def refused(code, operation, **parameters):
    try:
        operation(**parameters)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        assert error.response["Error"]["Message"], error
        return
    raise AssertionError(f"{operation.__name__} {parameters} was not refused")


def wait(waiter, **parameters):
    eks.get_waiter(waiter).wait(**parameters, WaiterConfig={"Delay": 1, "MaxAttempts": 20})


def updated(response, **owner):
    update = response["update"]["id"]
    assert update in eks.list_updates(name=NAME, **owner)["updateIds"]
    while True:
        status = eks.describe_update(name=NAME, updateId=update, **owner)["update"]["status"]
        if status != "InProgress":
            break
    assert status == "Successful", status


def all_pages(operation, key, **parameters):
    pages = eks.get_paginator(operation).paginate(**parameters, PaginationConfig={"PageSize": 1})
    return [item for page in pages for item in page[key]]


def cluster():
    request = {
        "name": NAME,
        "version": "1.35",
        "roleArn": role("cluster"),
        "resourcesVpcConfig": {"subnetIds": ["subnet-a", "subnet-b"], "endpointPrivateAccess": True},
        "logging": {"clusterLogging": [{"types": ["audit"], "enabled": True}]},
        "accessConfig": {"authenticationMode": "API"},
        "zonalShiftConfig": {"enabled": False},
        "tags": {"team": "a"},
    }
    refused("ResourceNotFoundException", eks.describe_cluster, name=NAME)
    refused("InvalidParameterException", eks.create_cluster, **{**request, "version": "1.20"})
    refused("ResourceLimitExceededException", eks.create_cluster, **{**request, "name": "other"})
    created = eks.create_cluster(**request)["cluster"]
    assert created["status"] == "CREATING" and created["createdAt"].year >= 2024
    refused("ResourceInUseException", eks.create_cluster, **request)
    wait("cluster_active", name=NAME)
    assert all_pages("list_clusters", "clusters") == [NAME]
    assert all_pages("describe_cluster_versions", "clusterVersions")[0]["clusterVersion"] == "1.35"
    updated(eks.update_cluster_config(name=NAME, upgradePolicy={"supportType": "STANDARD"}))
    wait("cluster_active", name=NAME)
    refused("InvalidParameterException", eks.update_cluster_config, name=NAME)
    refused("InvalidParameterException", eks.update_cluster_version, name=NAME, version="1.36")
    encryption = [{"resources": ["secrets"], "provider": {"keyArn": "arn:aws:kms:::key/1"}}]
    updated(eks.associate_encryption_config(clusterName=NAME, encryptionConfig=encryption))
    wait("cluster_active", name=NAME)


def access():
    entry = {"clusterName": NAME, "principalArn": role("team/deploy")}
    eks.create_access_entry(**entry, kubernetesGroups=["deployers"], tags={"team": "a"})
    refused("ResourceInUseException", eks.create_access_entry, **entry)
    refused("InvalidParameterException", eks.create_access_entry, clusterName=NAME, principalArn="me")
    assert len(all_pages("list_access_entries", "accessEntries", clusterName=NAME)) == 2
    eks.update_access_entry(**entry, kubernetesGroups=["others"])
    assert eks.describe_access_entry(**entry)["accessEntry"]["kubernetesGroups"] == ["others"]
    assert POLICY in [policy["arn"] for policy in all_pages("list_access_policies", "accessPolicies")]
    scope = {"type": "namespace", "namespaces": ["apps-*"]}
    eks.associate_access_policy(**entry, policyArn=POLICY, accessScope=scope)
    associated = all_pages("list_associated_access_policies", "associatedAccessPolicies", **entry)
    assert associated[0]["accessScope"] == scope
    eks.disassociate_access_policy(**entry, policyArn=POLICY)
    refused("ResourceNotFoundException", eks.disassociate_access_policy, **entry, policyArn=POLICY)
    eks.delete_access_entry(**entry)
    refused("ResourceNotFoundException", eks.describe_access_entry, **entry)


def addons():
    versions = all_pages("describe_addon_versions", "addons", kubernetesVersion="1.35")
    version = versions[0]["addonVersions"][0]["addonVersion"]
    addon = {"clusterName": NAME, "addonName": versions[0]["addonName"]}
    schema = eks.describe_addon_configuration(addonName=addon["addonName"], addonVersion=version)
    json.loads(schema["configurationSchema"])
    identity = [{"serviceAccount": "coredns", "roleArn": role("dns")}]
    eks.create_addon(**addon, podIdentityAssociations=identity, resolveConflicts="OVERWRITE")
    refused("ResourceInUseException", eks.create_addon, **addon)
    wait("addon_active", **addon)
    update = eks.update_addon(**addon, addonVersion=version, configurationValues="{}")
    updated(update, addonName=addon["addonName"])
    assert eks.describe_addon(**addon)["addon"]["addonVersion"] == version
    assert all_pages("list_addons", "addons", clusterName=NAME) == [addon["addonName"]]
    eks.delete_addon(**addon, preserve=False)
    wait("addon_deleted", **addon)


def pod_identity():
    request = {"clusterName": NAME, "namespace": "apps", "serviceAccount": "api", "roleArn": role("api")}
    created = eks.create_pod_identity_association(**request)["association"]
    refused("ResourceInUseException", eks.create_pod_identity_association, **request)
    association = {"clusterName": NAME, "associationId": created["associationId"]}
    eks.update_pod_identity_association(**association, roleArn=role("other"))
    assert eks.describe_pod_identity_association(**association)["association"]["roleArn"] == role("other")
    listed = all_pages("list_pod_identity_associations", "associations", clusterName=NAME, namespace="apps")
    assert [item["associationId"] for item in listed] == [created["associationId"]]
    assumed = auth.assume_role_for_pod_identity(clusterName=NAME, token="token.of.api")
    assert assumed["podIdentityAssociation"]["associationId"] == created["associationId"]
    assert assumed["credentials"]["expiration"].year >= 2024
    assume = auth.assume_role_for_pod_identity
    refused("InvalidTokenException", assume, clusterName=NAME, token="another.token.x")
    refused("ResourceNotFoundException", assume, clusterName="other", token="token.of.api")
    eks.delete_pod_identity_association(**association)
    refused("ResourceNotFoundException", assume, clusterName=NAME, token="token.of.api")
    refused("ResourceNotFoundException", eks.describe_pod_identity_association, **association)


def node_group():
    group = {"clusterName": NAME, "nodegroupName": "system"}
    request = {
        **group,
        "nodeRole": role("node"),
        "subnets": ["subnet-a"],
        "instanceTypes": ["t4g.small"],
        "amiType": "AL2023_ARM_64_STANDARD",
        "taints": [{"key": "a", "value": "b", "effect": "NO_SCHEDULE"}],
    }
    eks.create_nodegroup(**request)
    refused("ResourceInUseException", eks.create_nodegroup, **request)
    wait("nodegroup_active", **group)
    owner = {"nodegroupName": "system"}
    updated(eks.update_nodegroup_config(**group, scalingConfig={"maxSize": 3}), **owner)
    wait("nodegroup_active", **group)
    updated(eks.update_nodegroup_version(**group), **owner)
    wait("nodegroup_active", **group)
    assert all_pages("list_nodegroups", "nodegroups", clusterName=NAME) == ["system"]
    refused("ResourceInUseException", eks.delete_cluster, name=NAME)
    eks.delete_nodegroup(**group)
    wait("nodegroup_deleted", **group)


def tags():
    arn = eks.describe_cluster(name=NAME)["cluster"]["arn"]
    eks.tag_resource(resourceArn=arn, tags={"cost:centre": "7"})
    eks.untag_resource(resourceArn=arn, tagKeys=["team"])
    assert eks.list_tags_for_resource(resourceArn=arn)["tags"] == {"cost:centre": "7"}
    refused("NotFoundException", eks.list_tags_for_resource, resourceArn=f"{arn}-not")


def delete_cluster():
    eks.delete_cluster(name=NAME)
    wait("cluster_deleted", name=NAME)


def unknown():
    """An operation of EKS that the box does not support: the error is not in the model of EKS."""
    eks.meta.events.unregister("after-call.eks", check_response)
    refused("UnknownOperationException", eks.list_fargate_profiles, clusterName=NAME)


PARTS = {"cluster": [cluster], "rest": [access, addons, pod_identity, node_group, tags, unknown, delete_cluster]}

eks.meta.events.register("after-call.eks", check_response)
auth.meta.events.register("after-call.eks-auth", check_response)
for part in PARTS[sys.argv[1]]:
    part()
print(json.dumps(sorted(called)))
