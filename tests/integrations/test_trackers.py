"""Trials in TensorBoard, MLflow and Weights & Biases, written by the real libraries and read back from the disk."""

import json
import math
import shutil
import struct
import warnings

import pytest

import fasthpo
from fasthpo.errors import InvalidValue
from fasthpo.integrations import tracking

SPACE = fasthpo.SearchSpace({
    "rate": fasthpo.LogUniform(1e-5, 1e-1),
    "kind": fasthpo.Categorical(["sgd", "adam", None, 3, True]),
    "momentum": fasthpo.Continuous(0.0, 1.0, when={"kind": ["sgd"]}),
    "on": fasthpo.Categorical([True, False]),
    "a/b: (ü)": fasthpo.Discrete(1, 9),
})  # fmt: skip
POINTS = [
    {"rate": 1e-3, "kind": "sgd", "momentum": 0.5, "on": True, "a/b: (ü)": 3},
    {"rate": 1e-2, "kind": None, "on": False, "a/b: (ü)": 1},
    {"rate": 1e-4, "kind": 3, "on": True, "a/b: (ü)": 2},
    {"rate": 1e-4, "kind": True, "on": True, "a/b: (ü)": 4},
]


def objective(trial):
    trial.report(5.0, 0)
    trial.report(math.nan if trial.number == 3 else 4.0, 2)
    if trial.number == 1:
        raise fasthpo.TrialPruned("too slow")
    if trial.number == 2:
        raise RuntimeError("no <memory>")
    return {"loss": math.inf if trial.number == 3 else 1.5, "seconds": 7.0}


def run(callback, tmp_path, trials=4):
    """Four trials that end in every way; called again the study is loaded, and goes on to as many as are wanted."""
    config = fasthpo.TunerConfig(
        "digits", max_trials=trials, objective_metric="loss", output_dir=tmp_path / "results", save_checkpoints=True
    )
    tuner = fasthpo.HyperparameterTuner.with_random_search(config, SPACE)
    if config.study_dir.exists():
        tuner.load_checkpoint(config.study_dir)
    else:
        for point in POINTS:
            tuner.study.enqueue(point)
    return tuner.add_callback(callback).optimize(objective)


# --- TensorBoard


def read_runs(directory):
    """What TensorBoard itself reads of each run: scalars by tag, and the parameters and states of the HParams tab."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.plugins.hparams import metadata

    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(directory)).Reload()
    found = {}
    for name in multiplexer.Runs():
        accumulator = multiplexer.GetAccumulator(name)
        scalars = {}
        for tag in accumulator.Tags()["tensors"]:
            if accumulator.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
                scalars[tag] = [(one.step, one.tensor_proto.float_val[0]) for one in accumulator.Tensors(tag)]
        told = accumulator.PluginTagToContent("hparams") if "hparams" in accumulator._plugin_to_tag_to_content else {}
        parsed = {
            tag: parse(content)
            for tag, parse in (
                (metadata.SESSION_START_INFO_TAG, metadata.parse_session_start_info_plugin_data),
                (metadata.SESSION_END_INFO_TAG, metadata.parse_session_end_info_plugin_data),
                (metadata.EXPERIMENT_TAG, metadata.parse_experiment_plugin_data),
            )
            if (content := told.get(tag)) is not None
        }
        texts = [
            one.tensor_proto.string_val[0].decode()
            for one in (accumulator.Tensors("state") if "state" in accumulator.Tags()["tensors"] else [])
        ]
        found[name] = scalars, parsed, texts
    return found


@pytest.fixture
def tensorboard_callback():
    pytest.importorskip("tensorboard")
    from fasthpo.integrations.tensorboard import TensorBoardCallback

    return TensorBoardCallback


def test_tensorboard_has_a_run_a_trial_with_parameters_curve_final_value_and_state(tensorboard_callback, tmp_path):
    run(tensorboard_callback(tmp_path / "runs"), tmp_path)
    runs = read_runs(tmp_path / "runs")
    assert sorted(runs) == ["digits", *(f"digits/trial-{i}" for i in range(4))]
    (experiment,) = runs["digits"][1].values()
    assert {info.name for info in experiment.hparam_infos} == set(SPACE.names)
    assert [info.name.tag for info in experiment.metric_infos] == ["loss", "reported_loss", "seconds"]
    scalars, told, texts = runs["digits/trial-0"]
    assert scalars == {"reported_loss": [(0, 5.0), (2, 4.0)], "loss": [(2, 1.5)], "seconds": [(2, 7.0)]}
    start, end = told.values()
    kinds = {
        name: (value.WhichOneof("kind"), getattr(value, value.WhichOneof("kind")))
        for name, value in start.hparams.items()
    }
    assert kinds == {
        "rate": ("number_value", 1e-3), "kind": ("string_value", "sgd"), "momentum": ("number_value", 0.5),
        "on": ("bool_value", True), "a/b: (ü)": ("number_value", 3.0),
    }  # fmt: skip
    assert (start.group_name, end.status, texts) == ("digits/trial-0", 1, [])
    assert "momentum" not in next(iter(runs["digits/trial-1"][1].values())).hparams
    assert runs["digits/trial-1"][2] == ["PRUNED\n\n    too slow"]
    assert list(runs["digits/trial-2"][1].values())[1].status == 2  # failure
    assert "RuntimeError: no <memory>" in runs["digits/trial-2"][2][0]
    assert runs["digits/trial-3"][0]["loss"] == [(2, math.inf)]
    assert math.isnan(runs["digits/trial-3"][0]["reported_loss"][1][1])


def test_tensorboard_has_nothing_twice_when_a_study_goes_on_or_is_written_again(tensorboard_callback, tmp_path):
    run(tensorboard_callback(tmp_path / "runs"), tmp_path)
    result = run(tensorboard_callback(tmp_path / "runs"), tmp_path, trials=5)
    with tensorboard_callback(tmp_path / "runs", "digits") as callback:
        for trial in result.study.trials:
            callback.log(trial)
    runs = read_runs(tmp_path / "runs")
    assert sorted(runs) == ["digits", *(f"digits/trial-{i}" for i in range(5))]
    for i in range(5):
        assert [step for step, _ in runs[f"digits/trial-{i}"][0]["reported_value"]] == [0, 2]
    assert len(list((tmp_path / "runs/digits/trial-0").iterdir())) == 1


def test_tensorboard_gets_what_a_killed_process_had_not_written(tensorboard_callback, tmp_path):
    run(tensorboard_callback(tmp_path / "runs"), tmp_path)
    shutil.rmtree(tmp_path / "runs/digits/trial-3")
    (file,) = (tmp_path / "runs/digits/trial-1").iterdir()
    file.write_bytes(file.read_bytes()[:-200])  # its end is torn off
    run(tensorboard_callback(tmp_path / "runs"), tmp_path, trials=5)
    runs = read_runs(tmp_path / "runs")
    assert sorted(runs) == ["digits", *(f"digits/trial-{i}" for i in range(5))]
    assert all(len(runs[f"digits/trial-{i}"][1]) == 2 for i in range(5))


def test_another_study_of_the_same_name_gets_a_directory_of_its_own_in_tensorboard(tensorboard_callback, tmp_path):
    (tmp_path / "study" / "trial-0").mkdir(parents=True)
    (tmp_path / "study" / "trial-0" / "events.out.tfevents.mine").write_text("somebody else's")
    for value in (1.0, 2.0):
        study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)})
        study.tell(study.ask(), value)
        with tensorboard_callback(tmp_path) as callback:
            callback.log(study.trials[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study", "study-2", "study-3"]
    runs = read_runs(tmp_path)
    assert [runs[f"study-{i}/trial-0"][0]["value"] for i in (2, 3)] == [[(0, 1.0)], [(0, 2.0)]]
    assert (tmp_path / "study" / "trial-0" / "events.out.tfevents.mine").read_text() == "somebody else's"


# --- MLflow


@pytest.fixture
def mlflow_store(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("mlflow")
        pytest.importorskip("alembic")
        import mlflow.store.tracking.sqlalchemy_store  # its own warnings
    from fasthpo.integrations.mlflow import MLflowCallback

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    return (lambda **options: MLflowCallback(uri, **options)), mlflow.MlflowClient(tracking_uri=uri)


def nested(client, name="digits"):
    """The runs of an experiment: those of studies, and those of trials by number."""
    experiment = client.get_experiment_by_name(name)
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    parents = [one for one in runs if one.data.tags["fasthpo.kind"] == "study"]
    trials = [one for one in runs if one.data.tags["fasthpo.kind"] == "trial"]
    assert len({one.data.tags["fasthpo.trial"] for one in trials}) == len(trials) or len(parents) > 1
    return parents, {int(one.data.tags["fasthpo.trial"]): one for one in trials}


def history(client, one, key):
    return sorted((metric.step, metric.value) for metric in client.get_metric_history(one.info.run_id, key))


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_mlflow_has_a_run_for_the_study_and_one_nested_for_each_trial_also_when_it_goes_on(mlflow_store, tmp_path):
    make, client = mlflow_store
    run(make(), tmp_path)
    (parent,), trials = nested(client)
    assert parent.info.status == "FINISHED" and parent.data.metrics == {"best_value": 1.5}
    assert {one.data.tags["mlflow.parentRunId"] for one in trials.values()} == {parent.info.run_id}
    assert [trials[i].info.status for i in range(4)] == ["FINISHED", "KILLED", "FAILED", "FINISHED"]
    assert trials[0].data.params == {"rate": "0.001", "kind": "sgd", "momentum": "0.5", "on": "True", "a_b_ _ü_": "3"}
    assert trials[1].data.params["kind"] == "None" and "momentum" not in trials[1].data.params
    assert trials[0].data.metrics == {"loss": 1.5, "reported_loss": 4.0, "seconds": 7.0}
    assert history(client, trials[0], "reported_loss") == [(0, 5.0), (2, 4.0)]
    assert trials[1].data.tags["fasthpo.reason"] == "too slow"
    assert "RuntimeError: no <memory>" in trials[2].data.tags["fasthpo.reason"]
    assert trials[3].data.metrics["loss"] > 1e308 and math.isnan(trials[3].data.metrics["reported_loss"])

    result = run(make(), tmp_path, trials=5)
    with make(study_name="digits") as callback:  # all of them once more
        callback._objectives = ("loss",)
        for trial in result.study.trials:
            callback.log(trial)
    (same,), again = nested(client)
    assert (same.info.run_id, sorted(again)) == (parent.info.run_id, [0, 1, 2, 3, 4])
    for i in range(4):
        assert again[i].info.run_id == trials[i].info.run_id
        assert [step for step, _ in history(client, again[i], "reported_loss")] == [0, 2]
    assert history(client, again[0], "loss") == [(2, 1.5)]

    client.update_run(
        again[2].info.run_id, status="RUNNING"
    )  # as if a process had been killed before the ends of these
    client.delete_run(again[4].info.run_id)
    run(make(), tmp_path, trials=6)
    _, last = nested(client)
    assert sorted(last) == [0, 1, 2, 3, 4, 5] and last[2].info.status == "FAILED"


@pytest.mark.filterwarnings("ignore")
def test_mlflow_replaces_the_run_of_a_trial_that_was_lost_and_goes_on_with_one_that_was_not(mlflow_store, tmp_path):
    make, client = mlflow_store
    study = fasthpo.Study({"x": fasthpo.Continuous(0.0, 1.0)}, storage=tmp_path / "lost")
    lost, kept = study.ask(), study.ask()
    for trial in (lost, kept):
        trial.report(1.0, 0)
    callback = make()
    callback.log(lost)
    callback.log(kept)
    callback.close()
    _, before = nested(client, "lost")
    assert {one.info.status for one in before.values()} == {"KILLED"}
    kept.report(2.0, 1)
    study.tell(kept, 3.0)
    study.close()
    study = fasthpo.Study.load(tmp_path / "lost")
    trial = study.ask()
    assert trial.number == 0 and not trial.reports
    study.tell(trial, 9.0)
    with make() as callback:
        callback.log(study.trials[0])
        callback.log(study.trials[1])
    (_,), after = nested(client, "lost")
    assert after[0].info.run_id != before[0].info.run_id and after[1].info.run_id == before[1].info.run_id
    assert after[0].data.metrics == {"value": 9.0}
    assert history(client, after[1], "reported_value") == [(0, 1.0), (1, 2.0)]
    assert {one.info.status for one in after.values()} == {"FINISHED"}
    study.close()


def test_names_that_mlflow_refuses_are_changed_and_none_stands_for_two():
    from fasthpo.integrations.mlflow import _Names

    names = _Names(["value", "reported_value"], ("a/b", "a:b", "a_b", "..", "x" * 300, "value"))
    assert names.params["value"] == "value"
    assert len(set(names.params.values())) == 6
    assert names.params["a/b"] == "a_b" and names.params[".."] == "_.."
    assert names.metric("value") == names.metric("value") == "value-2"
    assert len(names.params["x" * 300]) <= 250


# --- Weights & Biases


def records_of(path):
    """The records of an offline file: LevelDB's log format behind a header of 7 bytes, whose checksums are not looked at."""
    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if at % 32768 > 32768 - 7:  # too little room for a header is padding
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def read_offline(directory):
    """What offline runs hold, by trial: about the run, config, rows, summary, exit code."""
    from wandb.proto import wandb_internal_pb2 as pb

    found = {}
    for path in sorted(directory.glob("wandb/offline-run-*/*.wandb")):
        config, rows, summary, code, info = {}, [], {}, None, None
        for data in records_of(path):
            record = pb.Record.FromString(data)
            if record.HasField("run"):
                info = record.run
                config.update({one.key: json.loads(one.value_json) for one in record.run.config.update})
            rows += [(one.key or one.nested_key[0], json.loads(one.value_json)) for one in record.history.item]
            for one in record.summary.update:
                summary[one.key or one.nested_key[0]] = json.loads(one.value_json)
            if record.HasField("exit"):
                code = record.exit.exit_code
        found[info.display_name] = info, config, rows, summary, code
    return found


@pytest.mark.filterwarnings("ignore")
def test_wandb_has_a_run_a_trial_in_a_group_offline(monkeypatch, tmp_path):
    pytest.importorskip("wandb")
    from fasthpo.integrations.wandb import WandbCallback

    monkeypatch.delenv("WANDB_MODE", raising=False)
    result = run(WandbCallback("project", mode="offline", directory=tmp_path / "w"), tmp_path)
    with WandbCallback("project", mode="disabled") as callback:
        callback.log(result.trials[0])
    found = read_offline(tmp_path / "w")
    assert sorted(found) == [f"trial-{i}" for i in range(4)]
    info, config, rows, summary, code = found["trial-0"]
    assert (info.project, info.run_group, code) == ("project", "digits", 0)
    assert {name: config[name] for name in SPACE.names} == POINTS[0]
    assert [value for name, value in rows if name == "reported_loss"] == [5.0, 4.0]
    assert [value for name, value in rows if name == "step"] == [0, 2]
    assert (summary["loss"], summary["seconds"], summary["state"]) == (1.5, 7.0, "COMPLETE")
    assert "momentum" not in found["trial-1"][1] and found["trial-1"][1]["kind"] is None
    assert found["trial-1"][3]["reason"] == "too slow"
    assert found["trial-2"][4] == 1 and "RuntimeError: no <memory>" in found["trial-2"][3]["reason"]
    assert found["trial-3"][3]["loss"] in (math.inf, "Infinity")
    assert len({one[0].run_id for one in found.values()}) == 4


def test_wandb_refuses_a_mode_that_it_does_not_have():
    from fasthpo.integrations.wandb import WandbCallback

    with pytest.raises(InvalidValue, match="mode must be None or one of"):
        WandbCallback("project", mode="dryrun")
    assert tracking.TrackingCallback in WandbCallback.__mro__
