//! Whether a booted kernel showed what it must, by what its first process wrote.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::Kernel;

/// The loads that are watched, and what tier C can know of each.
const LOADS: [(&str, Estimate); 4] = [
    ("short-lived", Estimate::Exact),
    ("threads", Estimate::Exact),
    ("double-fork", Estimate::Exact),
    ("autoreap", Estimate::NeverMore),
];

/// How near tier C comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Estimate {
    /// To the byte: somebody waits for every process.
    Exact,
    /// Nobody waits, so what was not seen alive is missing; nothing counts twice.
    NeverMore,
}

/// Of `mpp doctor`'s self test: each record of tier B is cut to whole KiB.
const SELF_TEST_ROUNDED_MAX: u64 = 50 * 1024;

/// Where a record was missing at tier B, and the total says so, so much of the truth may be
/// missing or too much.
const ESTIMATE_SHARE_MAX: u64 = 10;

/// Resident memory by two ways may differ by what each CPU keeps for itself.
const RESIDENT_RATIO_MAX: f64 = 1.1;

/// Fails with the first thing that is missing or wrong; else the kernel's release.
pub(super) fn judge(kernel: &Kernel, written: &str) -> Result<String> {
    let release = part(written, "kernel")?.trim().to_owned();
    let is_of_line = release.strip_prefix(kernel.line).is_some_and(|rest| rest.starts_with('.'));
    ensure!(is_of_line, "Linux {release} was booted");
    part(written, "disk")?;
    let doctor = part(written, "doctor")?;
    check_doctor(doctor, kernel.tier).with_context(|| format!("`mpp doctor` says\n{doctor}"))?;
    for reason in kernel.reasons {
        ensure!(doctor.contains(reason), "no word of `{reason}` in\n{doctor}");
    }
    let doctor = part(written, "doctor-as-nobody")?;
    check_doctor(doctor, 'C').with_context(|| format!("to nobody `mpp doctor` says\n{doctor}"))?;
    for (load, estimate) in LOADS {
        let watched = part(written, load)?;
        check_load(watched, kernel.tier, estimate)
            .with_context(|| format!("the load `{load}` was counted wrong\n{watched}"))?;
    }
    Ok(format!("Linux {release}"))
}

/// What stands between `#begin NAME` and `#end NAME 0`.
fn part<'a>(written: &'a str, name: &str) -> Result<&'a str> {
    let begin = format!("#begin {name}\n");
    let (_, rest) =
        written.split_once(&begin).with_context(|| format!("`{name}` did not begin\n{written}"))?;
    let (part, rest) = rest
        .split_once(&format!("#end {name} "))
        .with_context(|| format!("`{name}` did not end\n{rest}"))?;
    let status = rest.lines().next().unwrap_or_default();
    ensure!(status == "0", "`{name}` failed with status {status}\n{part}");
    Ok(part)
}

/// The tier is the expected one, and the self test keeps its promise.
fn check_doctor(page: &str, tier: char) -> Result<()> {
    let found = page.lines().find_map(|line| line.strip_prefix("tier "));
    let found = found.and_then(|rest| rest.trim_start().chars().next());
    ensure!(found == Some(tier), "not tier {tier}");
    let test =
        page.lines().find_map(|line| line.split_once("self test: ")).context("no self test")?;
    let numbers: Vec<u64> =
        test.1.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [_, written, counted] = numbers[..] else { bail!("no three numbers in `{}`", test.1) };
    let missing_max = match tier {
        'B' => SELF_TEST_ROUNDED_MAX,
        _ => 0,
    };
    let missing = written.checked_sub(counted).context("more was counted than written")?;
    ensure!(missing <= missing_max, "{missing} bytes are missing");
    Ok(())
}

/// What one watcher said first and last.
struct Watched {
    first: Value,
    last: Value,
}

impl Watched {
    fn written_bytes(&self) -> Result<u64> {
        let (first, last) = (number(&self.first, WRITTEN)?, number(&self.last, WRITTEN)?);
        last.checked_sub(first).context("a total fell")
    }
}

const WRITTEN: &str = "io_counters.write_bytes";
const RESIDENT: &str = "memory.rss";

/// The truth, then the first and the last line of the watchers at tiers A, B and C.
fn check_load(lines: &str, best: char, estimate: Estimate) -> Result<()> {
    let lines = lines.lines().filter(|line| line.starts_with('{')).map(serde_json::from_str);
    let lines: Vec<Value> = lines.collect::<Result<_, _>>()?;
    let [truth, watched @ ..] = lines.as_slice() else { bail!("no truth") };
    let (pairs, rest) = watched.as_chunks::<2>();
    ensure!(pairs.len() == 3 && rest.is_empty(), "{} lines of watchers, not 6", watched.len());
    let own = number(truth, "parent_write_bytes")?;
    let written = own + number(truth, "children_write_bytes")?;
    ensure!(written > 0, "nothing was written");
    let resident = number(&pairs[2][0], RESIDENT)?;
    for ([first, last], asked) in pairs.iter().zip(['A', 'B', 'C']) {
        let watched = Watched { first: first.clone(), last: last.clone() };
        let tier = asked.max(best);
        ensure!(last["tier"] == tier.to_string(), "asked for tier {asked}, not {tier} came");
        let counted = watched.written_bytes()?;
        let bound = number(last, "io_bound_bytes")?;
        ensure!(tier != 'A' || bound == 0, "tier A is not exact");
        let is_estimate = last["accuracy"][WRITTEN] == "estimate";
        let share = written / ESTIMATE_SHARE_MAX;
        let (least, most) = match (tier, estimate) {
            ('B', _) if is_estimate => (written.saturating_sub(bound + share), written + share),
            ('C', Estimate::NeverMore) => (own, written),
            _ => (written.saturating_sub(bound), written),
        };
        ensure!(
            (least..=most).contains(&counted),
            "tier {tier} counted {counted} bytes of {written}"
        );
        let ratio = number(first, RESIDENT)? as f64 / resident as f64;
        let is_near = (1.0 / RESIDENT_RATIO_MAX..=RESIDENT_RATIO_MAX).contains(&ratio);
        ensure!(is_near, "tier {tier} sees {ratio:.3} of the memory that tier C sees");
    }
    Ok(())
}

fn number(line: &Value, key: &str) -> Result<u64> {
    line[key].as_u64().with_context(|| format!("no number `{key}` in {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: Kernel = Kernel { line: "6.1", suite: "bookworm", tier: 'A', reasons: &[] };

    /// What a kernel that shows everything writes.
    fn written() -> String {
        let line = |tier: char, bytes: u64| {
            format!(
                "{{\"tier\":\"{tier}\",\"io_bound_bytes\":{},\"memory.rss\":4096,\
                 \"io_counters.write_bytes\":{bytes}}}\n",
                if tier == 'B' { 2048 } else { 0 }
            )
        };
        let mut load = "{\"parent_write_bytes\":4096,\"children_write_bytes\":8192}\n".to_owned();
        for tier in ['A', 'B', 'C'] {
            load.push_str(&line(tier, 100));
            load.push_str(&line(tier, 12_388));
        }
        let doctor = |tier| {
            format!(
                "tier          {tier} words\nok       self test: 50 children wrote 900 bytes and \
                 ended, 900 were counted (tier {tier})\n"
            )
        };
        let part = |name: &str, text: &str| format!("#begin {name}\n{text}#end {name} 0\n");
        let mut all = part("kernel", "6.1.0-50-amd64\n") + &part("disk", "");
        all.push_str(&part("doctor", &doctor('A')));
        all.push_str(&part("doctor-as-nobody", &doctor('C')));
        LOADS.iter().for_each(|(name, _)| all.push_str(&part(name, &load)));
        all
    }

    /// What is said of it when something in it is replaced by something else.
    fn check(replaced: &str, by: &str, expected: Option<&str>) {
        let written = written();
        assert!(written.contains(replaced), "{replaced}");
        let found = judge(&KERNEL, &written.replacen(replaced, by, 1));
        match (found, expected) {
            (Ok(release), None) => assert_eq!(release, "Linux 6.1.0-50-amd64"),
            (Err(error), Some(words)) => {
                let all = format!("{error:#}");
                assert!(all.contains(words), "{words} is not in {all}");
            }
            (found, expected) => panic!("{found:?} is not {expected:?}"),
        }
    }

    #[test]
    fn a_kernel_that_shows_everything_passes() {
        check("words", "words", None);
    }

    #[test]
    fn what_is_missing_is_named() {
        check("#begin disk", "#begin", Some("`disk` did not begin"));
        check("#end threads 0", "", Some("`threads` did not end"));
        check("#end autoreap 0", "#end autoreap 1", Some("`autoreap` failed with status 1"));
        check("self test", "test", Some("no self test"));
        check("6.1.0", "6.12.0", Some("Linux 6.12.0-50-amd64 was booted"));
        check("{\"tier\":\"A\"", "", Some("5 lines of watchers, not 6"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        check("tier          A", "tier          B", Some("not tier A"));
        check("900 were", "899 were", Some("1 bytes are missing"));
        check("900 were", "901 were", Some("more was counted than written"));
        check("bytes\":12388", "bytes\":12387", Some("tier A counted 12287 bytes of 12288"));
        check("children_write_bytes\":8192", "children_write_bytes\":8191", Some("of 12287"));
        check("memory.rss\":4096", "memory.rss\":0", Some("tier A sees 0.000 of the memory"));
    }

    #[test]
    fn each_tier_is_held_to_its_promise() {
        let check = |tier: char, bytes: &str, estimate, is_right: bool| {
            let written = written();
            let (_, load) = written.split_once("#begin autoreap\n").unwrap();
            let wrong = format!("\"tier\":\"{tier}\",\"io_bound_bytes\"");
            let mut lines: Vec<String> = load.lines().map(str::to_owned).collect();
            let line = lines.iter_mut().filter(|line| line.contains(&wrong)).nth(1).unwrap();
            *line = line.replace("12388", bytes);
            let found = check_load(&lines.join("\n"), 'A', estimate);
            assert_eq!(found.is_ok(), is_right, "{tier} {bytes}: {found:?}");
        };
        check('B', "10340", Estimate::Exact, true);
        check('B', "10339", Estimate::Exact, false);
        check('C', "12387", Estimate::Exact, false);
        check('C', "12387", Estimate::NeverMore, true);
        check('C', "4196", Estimate::NeverMore, true);
        check('C', "4195", Estimate::NeverMore, false);
        for tier in ['A', 'B', 'C'] {
            check(tier, "12389", Estimate::NeverMore, false);
        }
        let estimate = |bytes| format!("{bytes},\"accuracy\":{{\"{WRITTEN}\":\"estimate\"}}");
        check('B', &estimate(13_616), Estimate::Exact, true);
        check('B', &estimate(13_617), Estimate::Exact, false);
        check('A', &estimate(12_389), Estimate::Exact, false);
    }
}
