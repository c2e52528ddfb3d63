"""The ways to a cluster (docs/cluster), held to Ray's schema, to KubeRay's fields, to a shell."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import click
import pyarrow.fs as pafs
import pytest
import yaml
from click.testing import CliRunner
from supclap_platform.cli import main
from supclap_platform.mirror.store import choose_store

from supclap.errors import INTERRUPTED, STALE
from supclap.storage import Folder

ROOT = Path(__file__).parents[2]
WAYS = ROOT / "docs/cluster"
LAUNCHED = [ROOT / "cluster.yaml", WAYS / "hosts.yaml", WAYS / "gcp.yaml"]


def launched(path: Path) -> dict[str, Any]:
    """A file of Ray's launcher, filled out and checked as `ray up` does."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config: dict[str, Any] = prepare_config(yaml.safe_load(path.read_text(encoding="utf-8")))
    validate_config(config)
    return config


@pytest.mark.parametrize("path", LAUNCHED, ids=lambda path: path.name)
def test_rays_launcher_takes_it_and_nothing_listens_without_a_token(path: Path) -> None:
    config = launched(path)
    started = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    rays = [line for line in started if "ray start" in line]
    assert len(rays) == 2
    assert all("RAY_AUTH_MODE=token" in line for line in rays)
    assert "--dashboard-host=127.0.0.1" in rays[0]
    (mlflow,) = (line for line in started if "mlflow server --" in line)
    assert "--host 127.0.0.1" in mlflow
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "0.0.0.0" not in path.read_text(encoding="utf-8").replace("0.0.0.0/0", "")


def test_the_hosts_of_an_own_list_are_all_used() -> None:
    config = launched(WAYS / "hosts.yaml")
    ((_, kind),) = config["available_node_types"].items()
    hosts = config["provider"]["worker_ips"]
    assert kind["min_workers"] == kind["max_workers"] == len(hosts) == config["max_workers"]


@pytest.mark.heavy
def test_ssh_is_open_to_the_range_alone_where_the_group_was_made_as_the_page_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray's own code on a made AWS: it opens SSH to all in a group that it makes, and leaves one
    that is there."""
    boto3, moto = pytest.importorskip("boto3"), pytest.importorskip("moto")
    from ray.autoscaler._private.aws import config as aws

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "made")
    page = (WAYS / "aws.md").read_text(encoding="utf-8")
    with moto.mock_aws():
        client = boto3.client("ec2", region_name="us-east-1")
        (subnet, *_) = client.describe_subnets()["Subnets"]

        def rules() -> list[tuple[str, int | None, list[str]]]:
            """Of the group that the machines get: protocol, port, ranges."""
            aws.resource_cache.cache_clear()
            aws._get_subnets_or_die.cache_clear()
            config = launched(ROOT / "cluster.yaml")
            for kind in config["available_node_types"].values():
                kind["node_config"]["SubnetIds"] = [subnet["SubnetId"]]
            found = aws._configure_security_group(config)["available_node_types"]
            groups = {
                one for kind in found.values() for one in kind["node_config"]["SecurityGroupIds"]
            }
            (group,) = client.describe_security_groups(GroupIds=sorted(groups))["SecurityGroups"]
            assert group["GroupName"] == "supclap-ray"
            return sorted(
                (one["IpProtocol"], one.get("FromPort"), [r["CidrIp"] for r in one["IpRanges"]])
                for one in group["IpPermissions"]
            )

        assert ("tcp", 22, ["0.0.0.0/0"]) in rules()
        (made,) = client.describe_security_groups(
            Filters=[{"Name": "group-name", "Values": ["supclap-ray"]}]
        )["SecurityGroups"]
        client.delete_security_group(GroupId=made["GroupId"])
        group = client.create_security_group(
            GroupName="supclap-ray", Description="SupCLAP on Ray", VpcId=subnet["VpcId"]
        )["GroupId"]
        # What the two lines of the page ask for.
        all_, ssh = re.findall(r"authorize-security-group-ingress (.+)", page)
        assert shlex.split(all_) == ["--group-id", "$group", "--protocol", "all",
                                     "--source-group", "$group"]  # fmt: skip
        (cidr,) = re.findall(r"--port 22 --cidr (\S+)", ssh)
        client.authorize_security_group_ingress(
            GroupId=group,
            IpPermissions=[
                {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]},
                {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22,
                 "IpRanges": [{"CidrIp": cidr}]},
            ],
        )  # fmt: skip
        assert [one for one in rules() if one[2]] == [("tcp", 22, [cidr])]


# The fields that KubeRay's API ray.io/v1 has (1.5); it drops, or refuses, what it does not know.
CLUSTER = {"rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions",
           "headGroupSpec", "workerGroupSpecs"}  # fmt: skip
OPTIONS = {"resources", "image", "imagePullPolicy", "env", "envFrom", "volumeMounts",
           "securityContext", "idleTimeoutSeconds", "upscalingMode"}  # fmt: skip
HEAD = {"serviceType", "headService", "enableIngress", "rayStartParams", "template"}
WORKERS = {"groupName", "replicas", "minReplicas", "maxReplicas", "numOfHosts", "rayStartParams",
           "template", "scaleStrategy"}  # fmt: skip
JOB = {"activeDeadlineSeconds", "backoffLimit", "rayClusterSpec", "submitterPodTemplate",
       "metadata", "clusterSelector", "submitterConfig", "managedBy", "deletionStrategy",
       "entrypoint", "runtimeEnvYAML", "jobId", "submissionMode", "entrypointResources",
       "entrypointNumCpus", "entrypointNumGpus", "ttlSecondsAfterFinished",
       "shutdownAfterJobFinishes", "suspend"}  # fmt: skip
POD = {"automountServiceAccountToken", "securityContext", "tolerations", "containers", "volumes",
       "restartPolicy"}  # fmt: skip
CONTAINER = {"name", "image", "envFrom", "ports", "resources", "volumeMounts"}


def check_pod(template: dict[str, Any], name: str) -> None:
    assert template.keys() <= {"metadata", "spec"}
    spec = template["spec"]
    assert spec.keys() <= POD
    assert spec["securityContext"]["runAsNonRoot"] is True
    (container,) = spec["containers"]
    assert container.keys() <= CONTAINER
    assert container["name"] == name
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    assert {mount["name"] for mount in container.get("volumeMounts", [])} == volumes
    limits = container["resources"]["limits"]
    assert limits["memory"] == container["resources"]["requests"]["memory"]


def check_cluster(spec: dict[str, Any]) -> None:
    assert spec.keys() <= CLUSTER
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["autoscalerOptions"].keys() <= OPTIONS
    pinned = re.search(r"^ray==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert spec["rayVersion"] == pinned[1]
    head = spec["headGroupSpec"]
    assert head.keys() <= HEAD
    check_pod(head["template"], "ray-head")
    assert head["template"]["spec"]["automountServiceAccountToken"] is True
    for group in spec["workerGroupSpecs"]:
        assert group.keys() <= WORKERS
        assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        check_pod(group["template"], "ray-worker")
        assert group["template"]["spec"]["automountServiceAccountToken"] is False
    for one in (head, *spec["workerGroupSpecs"]):  # KubeRay refuses what is no text there
        assert all(isinstance(value, str) for value in one["rayStartParams"].values())


# Of batch/v1.
INDEXED = {"completionMode", "completions", "parallelism", "backoffLimitPerIndex",
           "podFailurePolicy", "template"}  # fmt: skip


def check_indexed_job(job: dict[str, Any]) -> None:
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec = job["spec"]
    assert spec.keys() <= INDEXED
    pod = spec["template"]["spec"]
    # Kubernetes takes a policy only for pods that are not started anew in their place, and an index
    # can fail only where indices are counted one by one.
    assert pod["restartPolicy"] == "Never"
    assert spec["completionMode"] == "Indexed"
    assert spec["backoffLimitPerIndex"] > 0
    evicted, ended = spec["podFailurePolicy"]["rules"]
    assert evicted["action"] == "Ignore"  # first: a pod that is evicted ends as a stopped one does
    assert evicted["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert ended["action"] == "FailIndex"
    codes = ended["onExitCodes"]
    assert codes == {"operator": "In", "values": sorted({1, 2, STALE, INTERRUPTED})}
    (container,) = pod["containers"]
    assert container["command"][:2] == ["supclap", "work"]
    assert container["command"][3:] == ["--profile", "paper"]


def manifests(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    text = (WAYS / "kubernetes" / name).read_text(encoding="utf-8")
    ray, policy = yaml.safe_load_all(text)
    assert policy["apiVersion"] == "networking.k8s.io/v1"
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    return ray, policy


def test_the_manifests_have_the_fields_of_kuberay_and_let_in_nobody_else() -> None:
    cluster, policy = manifests("raycluster.yaml")
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    check_cluster(cluster["spec"])
    name = cluster["metadata"]["name"]  # KubeRay labels the cluster's pods with it
    assert policy["spec"]["podSelector"] == {"matchLabels": {"ray.io/cluster": name}}
    job, policy = manifests("rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    assert spec.keys() <= JOB
    check_cluster(spec["rayClusterSpec"])
    check_pod(spec["submitterPodTemplate"], "ray-job-submitter")
    wanted = policy["spec"]["podSelector"]["matchLabels"].items()
    inside = spec["rayClusterSpec"]
    groups = [inside["headGroupSpec"], *inside["workerGroupSpecs"]]
    for template in (spec["submitterPodTemplate"], *(one["template"] for one in groups)):
        assert wanted <= template["metadata"]["labels"].items()
    command, *arguments = shlex.split(spec["entrypoint"])
    assert command == "supclap"
    parsed = CliRunner().invoke(main, [*arguments, "--help"])
    assert parsed.exit_code == 0, parsed.output
    # The page's own Job.
    block = re.search(r"```yaml\n(.*?)```", (WAYS / "kubernetes.md").read_text(), re.DOTALL)
    assert block is not None
    check_indexed_job(yaml.safe_load(block[1]))


def test_what_shows_a_storage_that_is_no_folder_says_where_to() -> None:
    """MLflow's own file cannot lie in a bucket."""
    text = (WAYS / "kubernetes.md").read_text(encoding="utf-8")
    lines = re.findall(r"supclap (?:sync|ui) [^`\n]*", text)
    assert len(lines) == 2
    for line in lines:
        command, *words = line.split()[1:]
        context = main.get_command(click.Context(main), command).make_context(command, words)
        storage = Folder(pafs._MockFileSystem(), "bucket/results", context.params["storage"])
        assert choose_store(context.params["tracking_uri"], storage) is not None


def test_the_image_is_built_of_what_the_clone_has() -> None:
    text = (WAYS / "kubernetes/Dockerfile").read_text(encoding="utf-8")
    copied = [
        word for line in re.findall(r"^COPY (.+)", text, re.MULTILINE) for word in line.split()
    ]
    sources = [word for word in copied if word != "./"]
    assert all((ROOT / source).exists() for source in sources)
    # What pyproject.toml names is among them: without its read-me or licence a wheel is refused.
    assert {"pyproject.toml", "README.md", "LICENSE", "supclap", "platform"} <= {*sources}
    assert re.search(r"^USER 1000$", text, re.MULTILINE)


STUBS = {
    "scontrol": "echo node1; echo node2",
    "hostname": "echo 192.0.2.10 10.0.0.1",
    # `srun`: its own options, then the command; on one core unless it is told (since Slurm 22.05).
    "srun": "export CORES=1; while [[ $1 == --* ]]; do "
    '[[ $1 != --cpus-per-task=* ]] || CORES=${1#*=}; shift; done; exec "$@"',
    # `ray symmetric-run`: what it is called with, then the command, unless Ray does not start.
    "ray": 'echo "ray ${*:1:8}, $CORES cores"; stat -c "token %s %a" $RAY_AUTH_TOKEN_PATH; '
    '[[ -e dead ]] && exit 0; while [[ $1 != -- ]]; do shift; done; shift; "$@"; exit 0',
    "supclap": 'echo "supclap $*, $CORES cores"; exit 3',
}


@pytest.mark.heavy
def test_the_scripts_of_slurm_start_what_the_page_says(tmp_path: Path) -> None:
    """In a shell in which Slurm's commands, `ray` and `supclap` say what they were called with."""
    for name, body in STUBS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)

    def ran(script: str, **more: str) -> subprocess.CompletedProcess[str]:
        given = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path), **more}
        given |= {"SLURM_JOB_ID": "41234567", "SLURM_JOB_NUM_NODES": "2",
                  "SLURM_CPUS_PER_TASK": "16", "SLURM_JOB_NODELIST": "node[1-2]"}  # fmt: skip
        path = WAYS / "slurm" / script
        return subprocess.run(
            ["bash", str(path)], env=given, capture_output=True, text=True, cwd=tmp_path
        )

    places = {"SUPCLAP_STORAGE": "/shared/results", "FILE": "a b.yaml"}
    work = ran("work.sbatch", **places, OPTIONS="--profile paper --seed 0")
    assert (work.returncode, work.stdout) == (
        3,
        "supclap work a b.yaml --profile paper --seed 0, 16 cores\n",
    )
    ray = ran("ray.sbatch", **places, OPTIONS="--mixed")
    assert ray.stdout.splitlines() == [
        "ray symmetric-run --address 192.0.2.10:24567 --min-nodes 2 --num-cpus=16 -- bash, "
        "16 cores",
        "token 64 600",
        "supclap run a b.yaml --address 192.0.2.10:24567 --mixed, 16 cores",
    ]
    assert ray.returncode == 3  # that of `run`, whatever `symmetric-run` makes of it
    (tmp_path / "dead").touch()
    dead = ran("ray.sbatch", **places)
    assert dead.returncode == 1
    assert "supclap run was not reached" in dead.stderr
    assert not list((tmp_path / ".supclap").iterdir())  # the token goes with the job
    for script in ("work.sbatch", "ray.sbatch"):
        for name in places:
            left = {key: value for key, value in places.items() if key != name}
            refused = ran(script, **left)
            assert refused.returncode != 0
            assert name in refused.stderr
            assert not refused.stdout
