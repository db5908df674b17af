"""The chart for Kubernetes renders to what the API takes, and agrees with images and settings."""

import re
from typing import Any

import pytest
import yaml

from server.settings import ENVIRONMENT_PREFIX, Settings
from tests.support.paths import ROOT

helm = pytest.importorskip("helm_python", reason="no helm-python-sdk; `make test` installs it")

CHART = ROOT / "docker" / "helm"
MODELS: dict[str, Any] = {"models": {"claim": "talking-models"}}
ROUTE = {"enabled": True, "parentRefs": [{"name": "public"}]}
SETTINGS = {"steps": 6, "max_message_bytes": 2**27, "window_ladder": [9, 25], "style_cfg": 2.5}
EVERYTHING = MODELS | {
    "gateway": {"tls": {"secret": "tls"}, "apiKeys": {"secret": "keys"}, "settings": SETTINGS},
    "envoy": {"enabled": False},
    "gatewayApi": ROUTE,
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "imagePullSecrets": [{"name": "registry"}],
}


def rendered(values: dict[str, Any]) -> dict[tuple[str, str], Any]:
    """What the chart makes of values, by kind and name."""
    files = helm.Chart.load(CHART).render(values, name="talking", namespace="avatars")
    objects = [found for text in files.values() for found in yaml.safe_load_all(text) if found]
    return {(found["kind"], found["metadata"]["name"]): found for found in objects}


def pod(found: dict[tuple[str, str], Any], kind: str, name: str) -> dict[str, Any]:
    return found[kind, name]["spec"]["template"]["spec"]


@pytest.mark.parametrize("values", [MODELS, EVERYTHING])
def test_the_chart_is_clean(values: dict[str, Any]) -> None:
    report = helm.lint(CHART, values, strict=True, kube_version="1.33.0")
    assert report["errors"] == []
    assert [each["error"] for each in report["messages"]] == ["icon is recommended"]


def test_gateways_tritons_and_envoys_may_go_one_by_one() -> None:
    found = rendered(MODELS)
    assert sorted(kind for kind, _ in found) == sorted(
        ["ConfigMap", "Deployment", "Deployment", "HorizontalPodAutoscaler", "StatefulSet"]
        + 3 * ["PodDisruptionBudget"]
        + 3 * ["Service"]
    )
    for part in ("gateway", "triton", "envoy"):
        budget = found["PodDisruptionBudget", f"talking-{part}"]["spec"]
        assert budget["maxUnavailable"] == 1
        labels = budget["selector"]["matchLabels"]
        kind = "StatefulSet" if part == "triton" else "Deployment"
        assert found[kind, f"talking-{part}"]["spec"]["template"]["metadata"]["labels"] == labels


def test_everything_that_can_be_asked_for_is_there() -> None:
    found = rendered(EVERYTHING)
    route = found["GRPCRoute", "talking"]["spec"]
    (backend,) = route["rules"][0]["backendRefs"]
    assert ("Service", backend["name"]) in found
    for part in ("gateway", "triton"):
        (endpoint,) = found["ServiceMonitor", f"talking-{part}"]["spec"]["endpoints"]
        ports = found["Service", f"talking-{part}"]["spec"]["ports"]
        assert endpoint["port"] in [port["name"] for port in ports]
    gateway = pod(found, "Deployment", "talking-gateway")
    secrets = [
        volume["secret"]["secretName"] for volume in gateway["volumes"] if "secret" in volume
    ]
    assert secrets == ["tls", "keys"]
    assert gateway["imagePullSecrets"] == [{"name": "registry"}]
    (container,) = gateway["containers"]
    assert container["readinessProbe"]["httpGet"]["scheme"] == "HTTPS"


def test_streams_may_finish_before_a_gateway_is_killed() -> None:
    gateway = pod(rendered(MODELS), "Deployment", "talking-gateway")
    (container,) = gateway["containers"]
    variables = {each["name"]: each["value"] for each in container["env"]}
    grace_s = int(variables["ECHOMIMIC_SHUTDOWN_GRACE_S"])
    sleep_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert gateway["terminationGracePeriodSeconds"] > grace_s + sleep_s


def test_every_variable_is_a_setting_and_its_value_is_taken() -> None:
    (container,) = pod(rendered(EVERYTHING), "Deployment", "talking-gateway")["containers"]
    stated = {
        each["name"].removeprefix(ENVIRONMENT_PREFIX).lower(): each["value"]
        for each in container["env"]
    }
    assert stated.keys() <= Settings.model_fields.keys()
    files = {name for name in stated if name.startswith("tls") or name == "api_keys"}
    numbers = {name: value for name, value in stated.items() if name not in files}
    settings = Settings.model_validate(numbers)
    assert {name: getattr(settings, name) for name in SETTINGS} == SETTINGS | {
        "window_ladder": (9, 25)
    }
    assert len(files) == 3


def test_each_triton_is_named() -> None:
    found = rendered(MODELS | {"triton": {"replicas": 3}})
    (container,) = pod(found, "Deployment", "talking-gateway")["containers"]
    (urls,) = [each["value"] for each in container["env"] if each["name"] == "ECHOMIMIC_TRITON_URL"]
    assert len(urls.split(",")) == 3
    assert urls.startswith("talking-triton-0.talking-triton.avatars.svc:8001,")


def test_pods_are_confined_as_containers_are_elsewhere() -> None:
    found = rendered(MODELS)
    for kind, name in found:
        if kind not in ("Deployment", "StatefulSet"):
            continue
        spec = pod(found, kind, name)
        assert spec["securityContext"]["runAsNonRoot"]
        # A service named echomimic would state ECHOMIMIC_PORT.
        assert spec["enableServiceLinks"] is False
        (container,) = spec["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
    # What the images run as.
    assert spec["securityContext"]["runAsUser"] == 10001


def test_triton_is_started_as_its_image_starts_it() -> None:
    (container,) = pod(rendered(MODELS), "StatefulSet", "talking-triton")["containers"]
    command = (
        (ROOT / "docker" / "triton.Dockerfile").read_text().partition('CMD ["tritonserver"')[2]
    )
    usual = set(re.findall(r"\"(--[^\"]+)\"", command))
    # Memory is shared within a pod only.
    assert set(container["args"][1:]) == usual - {"--allow-client-shm=true"}


def test_streams_are_scaled_by_how_many_are_busy() -> None:
    scaler = rendered(MODELS)["HorizontalPodAutoscaler", "talking-gateway"]["spec"]
    (metric,) = scaler["metrics"]
    assert metric["pods"]["metric"]["name"] == "echomimic_calls_active"
    busy = int(metric["pods"]["target"]["averageValue"])
    assert busy < helm.Chart.load(CHART).values["gateway"]["maxStreams"]


def test_envoy_goes_to_the_gateways_of_the_release() -> None:
    found = rendered(MODELS)
    config = yaml.safe_load(found["ConfigMap", "talking-envoy"]["data"]["envoy.yaml"])
    (cluster,) = config["static_resources"]["clusters"]
    (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    address = endpoint["endpoint"]["address"]["socket_address"]["address"]
    assert address == "talking-gateway.avatars.svc"
    assert ("Service", "talking-gateway") in found


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, "models.claim"),
        (MODELS | {"gateway": {"replica": 3}}, "replica"),
        (MODELS | {"gateway": {"shutdownGraceSeconds": 0}}, "shutdownGraceSeconds"),
        (MODELS | {"gatewayApi": {"enabled": True}}, "gatewayApi.parentRefs"),
        (MODELS | {"gateway": {"tls": {"secret": "tls"}}}, "envoy.enabled"),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(helm.HelmError, match=re.escape(problem)):
        rendered(values)
