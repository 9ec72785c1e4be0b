use std::io::Write;
use std::time::Duration;

use super::*;
use crate::config::LogFormat;

fn serve(arguments: &[&str]) -> Result<Config, CliError> {
    match parse_from(["persisting", "serve"].iter().chain(arguments))? {
        Command::Serve(config) => Ok(*config),
        other @ Command::Bench(_) => panic!("{other:?}"),
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn without_options_everything_is_the_default() {
    assert_eq!(serve(&[]).unwrap(), Config::default());
}

#[test]
fn every_option_can_be_given() {
    let config = serve(&[
        "--listen=0.0.0.0:80",
        "--data-dir=/d",
        "--max-body-bytes=1MiB",
        "--max-batch-records=2",
        "--max-record-bytes=3",
        "--tail-bytes=4",
        "--recent-bytes=5",
        "--max-inflight-bytes=5",
        "--wal-max-bytes=6MiB",
        "--wal-target-bytes=5MiB",
        "--wal-segment-bytes=4MiB",
        "--memory-limit-bytes=9",
        "--disk-floor-bytes=0",
        "--max-connections=10",
        "--max-streams=11",
        "--max-open-datasets=12",
        "--max-metric-topics=13",
        "--max-topic-cursors=15",
        "--max-queries=16",
        "--max-query-rows=17",
        "--query-memory-bytes=18MiB",
        "--query-timeout-secs=19",
        "--index-cache-bytes=18",
        "--max-searches=16",
        "--search-timeout-secs=17",
        "--shutdown-timeout-secs=14",
        "--cors-origin=https://a",
        "--cors-origin",
        "*",
        "--storage-root=/a,b",
        "--storage-root",
        "/c",
        "--auto-create",
        "--log-format=json",
    ]);
    let expected = Config {
        listen: "0.0.0.0:80".to_owned(),
        data_dir: "/d".into(),
        max_body_bytes: 1 << 20,
        max_batch_records: 2,
        max_record_bytes: 3,
        tail_bytes: 4,
        recent_bytes: 5,
        max_inflight_bytes: 5,
        wal_max_bytes: 6 << 20,
        wal_target_bytes: 5 << 20,
        wal_segment_bytes: 4 << 20,
        memory_limit_bytes: 9,
        disk_floor_bytes: 0,
        max_connections: 10,
        max_streams: 11,
        max_open_datasets: 12,
        max_metric_topics: 13,
        max_topic_cursors: 15,
        max_queries: 16,
        max_query_rows: 17,
        query_memory_bytes: 18 << 20,
        query_timeout: Duration::from_secs(19),
        index_cache_bytes: 18,
        max_searches: 16,
        search_timeout: Duration::from_secs(17),
        shutdown_timeout: Duration::from_secs(14),
        cors_origins: vec!["https://a".to_owned(), "*".to_owned()],
        storage_roots: vec!["/a,b".into(), "/c".into()],
        auto_create: true,
        log_format: LogFormat::Json,
    };
    assert_eq!(config.unwrap(), expected);
}

#[test]
fn an_option_outranks_the_file() {
    let file = file(
        "listen = '127.0.0.1:1'\ntail_bytes = '1MiB'\nmax_body_bytes = 7\nauto_create = true\n\
         cors_origin = ['https://a']\nlog_format = 'json'\nmax_streams = 5\n",
    );
    let path = file.path().to_str().unwrap();
    let config = serve(&["--config", path, "--tail-bytes=2MiB", "--auto-create=false"]).unwrap();
    assert_eq!((config.tail_bytes, config.recent_bytes, config.auto_create), (2 << 20, 1 << 20, false));
    assert_eq!((config.listen.as_str(), config.max_body_bytes, config.max_streams), ("127.0.0.1:1", 7, 5));
    assert_eq!((config.cors_origins, config.log_format), (vec!["https://a".to_owned()], LogFormat::Json));
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_its_fault() {
    for (text, fault) in [
        ("tale_bytes = 1", "unknown field `tale_bytes`"),
        ("config = 'other.toml'", "unknown field `config`"),
        ("tail-bytes = 1", "unknown field `tail-bytes`"),
        ("tail_bytes = -1", "a size is a number of bytes"),
        ("tail_bytes = 'many'", "a size is a number of bytes"),
        ("auto_create = 'yes'", "boolean"),
        ("max_streams = ", "line 1"),
    ] {
        let file = file(text);
        let path = file.path().to_str().unwrap().to_owned();
        let error = serve(&["--config", &path]).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(&path) && message.contains(fault), "{text}: {message}");
    }
    assert!(matches!(serve(&["--config", "/nowhere/at/all.toml"]), Err(CliError::Unreadable { .. })));
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    for arguments in [&["--tail-bytes=x"][..], &["--no-such"], &["extra"], &["--log-format=xml"], &["--max-streams=-1"]]
    {
        let CliError::Arguments(error) = serve(arguments).unwrap_err() else { panic!("{arguments:?}") };
        assert_eq!(error.exit_code(), 2, "{arguments:?}");
    }
    assert!(matches!(serve(&["--max-body-bytes=0"]), Err(CliError::Option(_))));
}

#[test]
fn every_option_of_bench_tells_its_default_or_is_a_switch() {
    let line = Line::command();
    for argument in line.find_subcommand("bench").unwrap().get_arguments().filter(|argument| !argument.is_positional())
    {
        let (name, help) = (argument.get_id().as_str(), argument.get_help().unwrap().to_string());
        let switch = matches!(argument.get_action(), clap::ArgAction::SetTrue);
        let told = switch || help.contains("[default: ") || !argument.get_default_values().is_empty() || name == "dir";
        assert!(told, "{name}: {help}");
        assert!(argument.get_env().is_none(), "{name}");
    }
}

#[test]
fn a_bench_is_parsed_with_its_workload_before_or_behind_its_options() {
    for arguments in [["bench", "append", "--count=7"], ["bench", "--count=7", "append"]] {
        let Command::Bench(options) = parse_from(["persisting"].iter().chain(&arguments)).unwrap() else { panic!() };
        assert_eq!((options.workload, options.load.count), (bench::Workload::Append, Some(7)));
    }
    for arguments in
        [&["bench"][..], &["bench", "disk"], &["bench", "append", "--batch=0"], &["bench", "get", "--limit=0"]]
    {
        let CliError::Arguments(error) = parse_from(["persisting"].iter().chain(arguments)).unwrap_err() else {
            panic!()
        };
        assert_eq!(error.exit_code(), 2, "{arguments:?}");
    }
}

#[test]
fn the_version_is_told() {
    let CliError::Arguments(error) = parse_from(["persisting", "--version"]).unwrap_err() else { panic!() };
    assert_eq!(error.exit_code(), 0);
    assert_eq!(error.to_string(), format!("persisting {}\n", env!("CARGO_PKG_VERSION")));
}

/// The arguments of `serve`, `help` left out.
fn arguments() -> Vec<clap::Arg> {
    let line = Line::command();
    let all = line.find_subcommand("serve").unwrap().get_arguments();
    all.filter(|argument| !["help", "version"].contains(&argument.get_id().as_str())).cloned().collect()
}

#[test]
fn every_option_has_its_environment_variable_and_its_key() {
    for argument in arguments() {
        let key = argument.get_id().as_str();
        assert_eq!(argument.get_long().unwrap().replace('-', "_"), key);
        assert_eq!(argument.get_env().unwrap().to_str().unwrap(), format!("PERSISTING_{}", key.to_uppercase()));
        let known = toml::from_str::<Options>(&format!("{key} = {{}}")).unwrap_err().to_string();
        assert_eq!(known.contains("unknown field"), key == "config", "{known}");
    }
}

#[test]
fn the_help_tells_the_defaults_that_hold() {
    for argument in arguments().iter().filter(|argument| argument.get_id() != "config") {
        let help = argument.get_help().unwrap().to_string();
        let (_, default) = help.split_once("[default: ").unwrap_or_else(|| panic!("{help}"));
        let default = default.trim_end_matches(']').split(',').next().unwrap();
        if default != "none" {
            let given = format!("--{}={default}", argument.get_long().unwrap());
            assert_eq!(serve(&[&given]).unwrap(), Config::default(), "{given}");
        }
    }
}

#[test]
fn lists_in_the_environment_have_commas() {
    let parts: Vec<_> = split("https://a, https://b,").collect();
    assert_eq!(parts, ["https://a", "https://b"]);
}

/// The environment belongs to the process, so this test runs itself in another one.
#[test]
fn the_environment_lies_between_the_command_line_and_the_file() {
    if std::env::var_os("PERSISTING_TAIL_BYTES").is_some() {
        let config = serve(&["--tail-bytes=3MiB"]).unwrap();
        assert_eq!((config.tail_bytes, config.max_streams, config.max_batch_records), (3 << 20, 22, 111));
        assert_eq!(config.cors_origins, ["https://a", "https://b"]);
        assert_eq!(config.storage_roots, [PathBuf::from("/x"), PathBuf::from("/y")]);
        assert!(config.auto_create);
        return;
    }
    let file = file("tail_bytes = 1\nmax_streams = 11\nmax_batch_records = 111\ncors_origin = ['https://c']\n");
    let name = "cli::tests::the_environment_lies_between_the_command_line_and_the_file";
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact"])
        .env("PERSISTING_CONFIG", file.path())
        .env("PERSISTING_TAIL_BYTES", "2MiB")
        .env("PERSISTING_MAX_STREAMS", "22")
        .env("PERSISTING_CORS_ORIGIN", "https://a,https://b")
        .env("PERSISTING_STORAGE_ROOT", "/x,/y")
        .env("PERSISTING_AUTO_CREATE", "true")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
