use super::*;

fn size(text: &str) -> Option<ByteSize> {
    Some(text.parse().unwrap())
}

#[test]
fn nothing_given_is_the_default() {
    assert_eq!(Config::from_options(Options::default()), Ok(Config::default()));
}

#[test]
fn sizes_are_numbers_with_or_without_a_unit() {
    for (text, bytes) in [("0", 0), ("65536", 65_536), ("7B", 7), ("64KiB", 65_536), ("1 MiB", MIB), ("2GiB", 2 * GIB)]
    {
        assert_eq!(text.parse::<ByteSize>().map(ByteSize::bytes), Ok(bytes), "{text}");
    }
    for text in ["", "x", "-1", "1.5MiB", "1MB", "1k", "99999999999TiB", "18446744073709551616"] {
        assert!(text.parse::<ByteSize>().is_err(), "{text}");
    }
}

#[test]
fn a_value_out_of_its_range_is_refused_with_the_range() {
    let options = Options { max_record_bytes: size("2GiB"), ..Options::default() };
    let refused = Config::from_options(options).unwrap_err();
    assert_eq!(refused.to_string(), "--max-record-bytes: 2147483648 is not in the range 1 to 1073741824");
    for options in [
        Options { max_body_bytes: size("0"), ..Options::default() },
        Options { max_batch_records: Some(0), ..Options::default() },
        Options { shutdown_timeout_secs: Some(3_601), ..Options::default() },
        Options { wal_max_bytes: size("1MiB"), wal_target_bytes: size("2MiB"), ..Options::default() },
        Options { wal_max_bytes: size("1MiB"), wal_segment_bytes: size("2MiB"), ..Options::default() },
        Options { data_dir: Some(PathBuf::new()), ..Options::default() },
        Options { storage_root: Some(vec![PathBuf::new()]), ..Options::default() },
    ] {
        assert!(Config::from_options(options.clone()).is_err(), "{options:?}");
    }
}

#[test]
fn a_small_log_has_a_smaller_target_and_segment() {
    for wal_max in ["64KiB", "1MiB", "100MiB", "900MiB", "1TiB"] {
        let options = Options { wal_max_bytes: size(wal_max), ..Options::default() };
        let config = Config::from_options(options).unwrap();
        assert!(config.wal_target_bytes <= config.wal_max_bytes / 2, "{wal_max}");
        assert!(config.wal_segment_bytes <= config.wal_target_bytes / 8, "{wal_max}");
    }
}

#[test]
fn addresses_have_host_and_port() {
    for listen in ["127.0.0.1:8080", "localhost:0", "[::1]:80", "0.0.0.0:65535"] {
        assert_eq!(check_listen(listen), Ok(()), "{listen}");
    }
    for listen in ["", "8080", ":8080", "localhost", "localhost:", "localhost:65536", "::1:80", "[::1]"] {
        assert!(check_listen(listen).is_err(), "{listen}");
    }
}

#[test]
fn origins_are_scheme_host_and_port_only() {
    for origin in
        ["*", "null", "http://localhost:5173", "https://example.org", "capacitor://localhost", "http://[::1]:1"]
    {
        assert_eq!(check_origin(origin), Ok(()), "{origin}");
    }
    for origin in
        ["", "example.org", "https://", "https://a/", "https://a/b", "https://a?b", "https://*.a", "//a", "a b://c"]
    {
        assert!(check_origin(origin).is_err(), "{origin}");
    }
}
