//! The store against kills, damage, full disks and servers that change, by the hundred.

use super::{testing::*, *};
use crate::{
    Result,
    checkpoint::{ByteSource, MemoryRepository, Repository},
};

const CHUNK: u64 = 16 << 10;
const WEIGHTS: &str = "model.safetensors";
const FILES: [&str; 4] = ["config.json", WEIGHTS, "tokenizer.json", "empty.json"];

/// A model of some chunks, its files of odd lengths.
fn model(seed: u64) -> MemoryRepository {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut files = MemoryRepository::default();
    for (name, length) in FILES
        .iter()
        .zip([700, 40 * CHUNK as usize + 123, 3 * CHUNK as usize, 0])
    {
        let mut bytes = vec![0; length];
        random.fill(&mut bytes);
        files.insert(*name, bytes);
    }
    files
}

fn sha256(bytes: &[u8]) -> Digest {
    let mut running = digest::Running::new(bytes.len() as u64, &[]);
    running.feed(bytes);
    running.finish().remove(0)
}

/// A server that names its versions, and publishes hashes if `hashed`.
fn server(seed: u64, hashed: bool) -> Server {
    let mut server = Server::new(model(seed));
    for name in FILES {
        let bytes = server.files.get(name).unwrap();
        let digest = hashed.then(|| sha256(bytes));
        let validator = Some(format!("\"{seed}-{name}\""));
        let version = Version {
            validator,
            digest,
            ..Default::default()
        };
        server.versions.insert(name.into(), version);
    }
    server
}

fn options() -> Options {
    Options {
        chunk_bytes: CHUNK,
        ..Options::new("owner/name", "main")
    }
}

fn folder() -> String {
    folder_of("owner/name", "main")
}

type Read = Vec<(String, Option<Vec<u8>>)>;

/// What a load does: the config, the head of the weights, the tokenizer, a file that is not there, the weights forward in pieces.
async fn load(server: &Server, disk: &MemoryDisk, options: Options) -> Result<(Read, Report)> {
    let stored = Stored::open(server.clone(), Ok(disk.clone()), options).await?;
    let mut read = Vec::new();
    let weights = stored.open(WEIGHTS).await?;
    if let Some(weights) = &weights {
        weights.read(0, &mut [0; 8]).await?;
        weights.read(8, &mut [0; 900]).await?;
    }
    for name in FILES.iter().chain(&["chat_template.jinja"]) {
        let file = stored.open_optional(name).await?;
        let bytes = match &file {
            Some(file) => Some(read_forward(file, 3 * CHUNK as usize - 77).await?),
            None => None,
        };
        read.push((name.to_string(), bytes));
    }
    Ok((read, stored.finish().await?))
}

async fn read_forward(file: &impl ByteSource, piece_bytes: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < file.len_bytes() {
        let begin = bytes.len();
        bytes.resize((begin + piece_bytes).min(file.len_bytes() as usize), 0);
        file.read(begin as u64, &mut bytes[begin..]).await?;
    }
    Ok(bytes)
}

#[track_caller]
fn assert_is(read: &Read, files: &MemoryRepository) {
    for (name, bytes) in read {
        assert!(bytes.as_deref() == files.get(name), "{name} is not what the server has");
    }
}

fn block<T>(future: impl Future<Output = T>) -> T {
    pollster::block_on(future)
}

#[test]
fn the_second_load_fetches_nothing() {
    let (server, disk) = (server(1, true), MemoryDisk::default());
    let (read, report) = block(load(&server, &disk, options())).unwrap();
    assert_is(&read, &server.files);
    let total: u64 = server.files.files().map(|(_, bytes)| bytes.len() as u64).sum();
    assert_eq!(
        (report.complete, report.bytes_fetched, server.sent_bytes()),
        (true, total, total)
    );
    assert_eq!((report.verified, report.reason), (Some(Proof::Sha256), None));

    // Published files lie there as they are.
    assert_eq!(disk.bytes(&folder(), WEIGHTS), server.files.get(WEIGHTS).unwrap());

    for (down, only) in [(false, false), (true, false), (true, true)] {
        server.sent.borrow_mut().clear();
        server.down.set(down);
        server.requests.set(0);
        let (read, report) = block(load(&server, &disk, Options { only, ..options() })).unwrap();
        assert_is(&read, &server.files);
        assert_eq!(
            (report.complete, report.bytes_fetched, server.sent_bytes()),
            (true, 0, 0),
            "down: {down}"
        );
        assert!(report.bytes_read >= total && report.healed.is_empty());
        // Each file is asked about once; `only` asks nothing.
        assert_eq!(server.requests.get(), if only { 0 } else { 4 });
    }
    let list = block(list(&disk)).unwrap();
    assert_eq!(
        (list.len(), list[0].id.as_str(), list[0].complete, list[0].bytes),
        (1, "owner/name", true, total)
    );
    assert!(list[0].last_used_ms > 0 && list[0].bytes_total == total);
}

#[test]
fn two_hundred_kills_at_random_bytes() {
    let mut random = fastrand::Rng::with_seed(13);
    let mut kills = 0;
    while kills < 200 {
        let (mut server, disk) = (server(kills, kills % 2 == 0), MemoryDisk::default());
        server.process = disk.clone();
        let weights = server.files.get(WEIGHTS).unwrap();
        loop {
            let (way, bytes) = (random.u8(0..3), random.u64(0..weights.len() as u64 / 3));
            match way {
                0 => server.cut_after.set(Some(bytes)),
                _ => disk.die_after(bytes),
            }
            let ended = block(load(&server, &disk, options()));
            server.cut_after.set(None);
            disk.restart((way == 2).then_some(&mut random));
            match ended {
                Ok((read, report)) => {
                    assert_is(&read, &server.files);
                    if report.complete {
                        break;
                    }
                }
                Err(_) => kills += 1,
            }
        }
        assert!(disk.bytes(&folder(), WEIGHTS) == weights);
        assert_eq!(block(verify(&disk, &folder(), &mut |_, _| {})).unwrap(), []);
    }
}

#[test]
fn a_kill_costs_at_most_one_chunk() {
    let mut random = fastrand::Rng::with_seed(14);
    for kill in 0..200 {
        let (mut server, disk) = (server(kill, kill % 4 < 2), MemoryDisk::default());
        server.process = disk.clone();
        let total: u64 = server.files.files().map(|(_, bytes)| bytes.len() as u64).sum();
        match kill % 2 {
            0 => server.cut_after.set(Some(random.u64(0..total))),
            _ => disk.die_after(random.u64(0..total)),
        }
        assert!(block(load(&server, &disk, options())).is_err(), "it was killed");
        server.cut_after.set(None);
        disk.restart(None);
        let (read, report) = block(load(&server, &disk, options())).unwrap();
        assert_is(&read, &server.files);
        assert!(report.complete);
        let twice = server.sent_bytes() - total;
        assert!(twice <= CHUNK, "kill {kill}: {twice} bytes were fetched twice");
    }
}

/// One thing that can happen to bytes on a disk.
fn damage(random: &mut fastrand::Rng, disk: &MemoryDisk) -> &'static str {
    let (folder, names) = (folder(), disk.names(&folder()));
    let name = match random.u8(0..4) {
        0 => &names[random.usize(0..names.len())],
        _ => WEIGHTS,
    };
    let length = disk.bytes(&folder, name).len();
    let at = random.usize(0..length.max(1));
    match random.u8(0..6) {
        0 => {
            disk.change(&folder, name, |bytes| bytes.truncate(at));
            "truncated"
        }
        1 => {
            let chunk = CHUNK as usize;
            disk.change(&folder, name, |bytes| {
                let chunks = bytes.len() / chunk;
                if chunks > 1 {
                    let (a, b) = (random.usize(0..chunks), random.usize(0..chunks));
                    for i in 0..chunk {
                        bytes.swap(a * chunk + i, b * chunk + i);
                    }
                }
            });
            "swapped"
        }
        2 => {
            disk.lose(&folder, name);
            "lost"
        }
        3 => {
            disk.change(&folder, name, |bytes| bytes[at..].fill(0));
            "zeroed"
        }
        4 => {
            disk.change(&folder, name, |bytes| bytes.extend([7; 99]));
            "lengthened"
        }
        _ => {
            disk.change(&folder, name, |bytes| {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.u8(0..8);
                }
            });
            "flipped"
        }
    }
}

/// The chunks of the published files that are not on the disk as the server has them.
fn damaged_chunks(server: &Server, disk: &MemoryDisk) -> Vec<Damage> {
    let mut damaged = Vec::new();
    for name in FILES {
        let right = server.files.get(name).unwrap();
        let found = match disk.names(&folder()).iter().any(|found| found == name) {
            true => disk.bytes(&folder(), name),
            false => Vec::new(),
        };
        for (i, chunk) in right.chunks(CHUNK as usize).enumerate() {
            let begin = i * CHUNK as usize;
            if found.get(begin..begin + chunk.len()) != Some(chunk) {
                let (offset_bytes, end_bytes) = (begin as u64, (begin + chunk.len()) as u64);
                let file = name.into();
                damaged.push(Damage {
                    file,
                    offset_bytes,
                    end_bytes,
                });
            }
        }
    }
    damaged
}

fn sorted(mut damages: Vec<Damage>) -> Vec<Damage> {
    damages.sort_by(|a, b| (&a.file, a.offset_bytes).cmp(&(&b.file, b.offset_bytes)));
    damages
}

#[test]
fn a_thousand_damages_are_found_named_and_healed_alone() {
    let mut random = fastrand::Rng::with_seed(15);
    let (server, disk) = (server(15, true), MemoryDisk::default());
    block(load(&server, &disk, options())).unwrap();
    let (mut damaged, mut kinds) = (0, std::collections::BTreeMap::new());
    while damaged < 1000 {
        let kind = damage(&mut random, &disk);
        damaged += 1;
        *kinds.entry(kind).or_insert(0) += 1;
        let expected = sorted(damaged_chunks(&server, &disk));
        assert_eq!(
            sorted(block(verify(&disk, &folder(), &mut |_, _| {})).unwrap()),
            expected,
            "{kind}"
        );

        server.sent.borrow_mut().clear();
        if !expected.is_empty() {
            // Without a source it is refused by name, and what is right is not lost.
            let only = Options {
                only: true,
                ..options()
            };
            let Err(refused) = block(load(&server, &disk, only)) else {
                panic!("{kind}")
            };
            assert_eq!(refused.code(), "StoreDamaged");
            assert!(
                expected.iter().any(|damage| refused.to_string().contains(&damage.file)),
                "{refused}"
            );
        }
        let (read, report) = block(load(&server, &disk, options())).unwrap();
        assert_is(&read, &server.files);
        assert_eq!(sorted(report.healed), expected, "{kind}");
        let sent = server.sent.borrow().clone();
        let sent = sent.into_iter().map(|(file, offset_bytes, end_bytes)| Damage {
            file,
            offset_bytes,
            end_bytes,
        });
        assert_eq!(sorted(sent.collect()), expected, "{kind}: only these were fetched");
        assert!(report.complete && damaged_chunks(&server, &disk).is_empty(), "{kind}");
    }
    assert!(
        kinds.len() == 6 && kinds.values().all(|count| *count > 100),
        "{kinds:?}"
    );
}

/// An index whose checksums are right, and which says what is not so.
#[test]
fn an_index_that_lies_is_found_out() {
    for hashed in [true, false] {
        let (server, disk) = (server(16, hashed), MemoryDisk::default());
        block(load(&server, &disk, options())).unwrap();
        block(async {
            let mut journal = index::Journal::open(&disk, &folder(), "owner/name", "main", CHUNK)
                .await
                .unwrap();
            let (number, entry) = journal.index().file(WEIGHTS).unwrap();
            let (proven, proof) = entry.proven.clone().unwrap();
            // Of chunk 5 another hash; of chunk 7 the hash of wrong bytes that lie there.
            journal.note(&index::Record::Chunk(number, 5, 12345)).unwrap();
            let wrong = vec![9; CHUNK as usize];
            disk.change(&folder(), WEIGHTS, |bytes| {
                bytes[7 * CHUNK as usize..8 * CHUNK as usize].copy_from_slice(&wrong)
            });
            let hash = xxhash_rust::xxh3::xxh3_64(&wrong);
            journal.note(&index::Record::Chunk(number, 7, hash)).unwrap();
            journal.note(&index::Record::Proven(number, proven, proof)).unwrap();
            journal.note(&index::Record::Complete).unwrap();
        });
        let damages = block(verify(&disk, &folder(), &mut |_, _| {})).unwrap();
        let of_five = Damage {
            file: WEIGHTS.into(),
            offset_bytes: 5 * CHUNK,
            end_bytes: 6 * CHUNK,
        };
        assert_eq!(damages, [of_five]);
        // Chunk 5 is fetched, found to be neither what is there nor what the index says, so the whole file is proven anew. Where a
        // hash is published, that fails, and the file starts anew.
        let first = block(load(&server, &disk, options()));
        if hashed {
            assert_eq!(first.err().unwrap().code(), "Integrity");
            let (read, report) = block(load(&server, &disk, options())).unwrap();
            assert_is(&read, &server.files);
            assert!(report.complete);
            assert!(disk.bytes(&folder(), WEIGHTS) == server.files.get(WEIGHTS).unwrap());
        } else {
            assert_eq!(first.unwrap().1.verified, Some(Proof::None));
        }
    }
}

#[test]
fn a_full_disk_stops_the_storing_not_the_load() {
    let mut random = fastrand::Rng::with_seed(17);
    let total = model(0).files().map(|(_, bytes)| bytes.len() as u64).sum();
    for round in 0..20 {
        let (server, disk) = (server(round, true), MemoryDisk::default());
        disk.fill_after(Some(random.u64(0..total)));
        let (read, report) = block(load(&server, &disk, options())).unwrap();
        assert_is(&read, &server.files);
        let reason = report.reason.unwrap();
        assert_eq!((report.complete, reason.code()), (false, "StoreQuota"), "{reason}");
        // Once there is room, what was kept is not fetched again.
        let kept: u64 = block(list(&disk)).unwrap().iter().map(|summary| summary.bytes).sum();
        disk.fill_after(None);
        server.sent.borrow_mut().clear();
        let (read, report) = block(load(&server, &disk, options())).unwrap();
        assert_is(&read, &server.files);
        assert!(report.complete && report.reason.is_none());
        assert_eq!(server.sent_bytes(), total - kept, "round {round}");
    }
}

#[test]
fn room_is_looked_at_before_the_first_byte() {
    let (server, disk) = (server(18, false), MemoryDisk::default());
    let mut other = options();
    other.id = "owner/other".into();
    block(load(&server, &disk, other)).unwrap();
    disk.set_room(Some(5 * CHUNK));
    let (read, report) = block(load(&server, &disk, options())).unwrap();
    assert_is(&read, &server.files);
    let reason = report.reason.unwrap().to_string();
    for part in ["owner/name", "bytes more are needed, 81920 are free", "owner/other (70"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    let list = block(list(&disk)).unwrap();
    assert!(
        list.iter()
            .all(|summary| summary.id == "owner/other" || summary.bytes == 0),
        "{list:?}"
    );
}

#[test]
fn a_file_that_changed_starts_anew() {
    for (hashed, killed) in [(false, false), (true, false), (false, true), (true, true)] {
        let disk = MemoryDisk::default();
        let before = server(19, hashed);
        if killed {
            before.cut_after.set(Some(10 * CHUNK));
        }
        assert_eq!(block(load(&before, &disk, options())).is_err(), killed);
        // Other weights of the same length, the rest as it was.
        let mut after = server(19, hashed);
        let other = server(20, hashed);
        after.files.insert(WEIGHTS, other.files.get(WEIGHTS).unwrap());
        after.versions.insert(WEIGHTS.into(), other.versions[WEIGHTS].clone());
        let (read, report) = block(load(&after, &disk, options())).unwrap();
        assert_is(&read, &after.files);
        assert!(report.complete);
        assert!(disk.bytes(&folder(), WEIGHTS) == after.files.get(WEIGHTS).unwrap());
        let again = after.sent.borrow().iter().any(|(file, ..)| file == "config.json");
        assert!(!again, "config.json is the same file and was fetched again");

        // A file that was not there before is looked for again.
        let mut more = after.clone();
        more.files.insert("chat_template.jinja", *b"{{ messages }}");
        more.versions.get_mut(WEIGHTS).unwrap().validator = Some("another".into());
        more.versions.get_mut(WEIGHTS).unwrap().digest = None;
        let (read, report) = block(load(&more, &disk, options())).unwrap();
        assert_is(&read, &more.files);
        assert!(report.complete);
    }
}

#[test]
fn what_nothing_identifies_is_not_resumed() {
    let disk = MemoryDisk::default();
    let nameless = |seed| Server {
        versions: Default::default(),
        ..server(seed, false)
    };
    let before = nameless(21);
    before.cut_after.set(Some(10 * CHUNK));
    block(load(&before, &disk, options())).err().unwrap();
    let after = nameless(22);
    let (read, report) = block(load(&after, &disk, options())).unwrap();
    assert_is(&read, &after.files);
    assert_eq!((report.complete, report.verified), (true, Some(Proof::None)));
}

#[test]
fn integrity_is_held_with_and_without_a_disk() {
    let right = |server: &Server, name: &str| {
        let hash = sha256(server.files.get(name).unwrap());
        let bytes: Vec<u8> = (0..32)
            .map(|i| u8::from_str_radix(&hash.hex()[2 * i..][..2], 16).unwrap())
            .collect();
        format!("sha256-{}", base64::encode(bytes))
    };
    let server = server(23, false);
    let integrity = FILES.map(|name| (name.to_string(), right(&server, name)));
    let given = Options {
        integrity: integrity.into(),
        ..options()
    };
    let mut wrong = given.clone();
    wrong.integrity.insert(WEIGHTS.into(), right(&server, "config.json"));
    let mut nonsense = given.clone();
    nonsense.integrity.insert(WEIGHTS.into(), "sha256-!".into());

    let disk = MemoryDisk::default();
    let refused = block(load(&server, &disk, wrong.clone())).err().unwrap();
    assert_eq!(refused.code(), "Integrity");
    assert!(
        refused.to_string().starts_with("model.safetensors: ")
            && refused
                .to_string()
                .contains(sha256(server.files.get(WEIGHTS).unwrap()).hex())
    );
    assert_eq!(
        block(load(&server, &disk, nonsense)).err().unwrap().code(),
        "BadOptions"
    );
    // Nothing of it is taken for the file later on.
    let (read, report) = block(load(&server, &disk, given.clone())).unwrap();
    assert_is(&read, &server.files);
    assert_eq!((report.complete, report.verified), (true, Some(Proof::Sri)));
    // What is stored is held against another hash, too.
    assert_eq!(
        block(load(&server, &disk, wrong.clone())).err().unwrap().code(),
        "Integrity"
    );

    for (options, code) in [(given, None), (wrong, Some("Integrity"))] {
        let read = block(async {
            let stored = Stored::open(server.clone(), Err::<MemoryDisk, _>(None), options).await?;
            let file = stored.open(WEIGHTS).await?.unwrap();
            file.read(0, &mut [0; 8]).await?;
            read_forward(&file, 50_000).await
        });
        match code {
            None => assert!(read.unwrap() == server.files.get(WEIGHTS).unwrap()),
            Some(code) => assert_eq!(read.err().unwrap().code(), code),
        }
    }
}

#[test]
fn a_page_that_may_not_write_reads_along() {
    let (server, disk) = (server(24, true), MemoryDisk::default());
    let reader = Options {
        writes: false,
        ..options()
    };
    let (read, report) = block(load(&server, &disk, reader.clone())).unwrap();
    assert_is(&read, &server.files);
    assert!(!report.complete && block(list(&disk)).unwrap().is_empty());
    block(load(&server, &disk, options())).unwrap();
    server.sent.borrow_mut().clear();
    disk.set_busy(true);
    let (read, report) = block(load(&server, &disk, reader.clone())).unwrap();
    assert_is(&read, &server.files);
    assert_eq!((report.complete, server.sent_bytes()), (true, 0));
    // Damage is served from the source, and left for who may write.
    disk.change(&folder(), WEIGHTS, |bytes| bytes[20] ^= 1);
    let (read, report) = block(load(&server, &disk, reader)).unwrap();
    assert_is(&read, &server.files);
    assert_eq!(report.healed.len(), 1);
    // Files that another page has open, though nobody should: they are read, and why nothing was written is told.
    let (read, report) = block(load(&server, &disk, options())).unwrap();
    assert_is(&read, &server.files);
    assert_eq!(report.reason.unwrap().code(), "StoreBusy");
}

#[test]
fn only_what_is_there_whole() {
    let (server, disk) = (server(25, true), MemoryDisk::default());
    let only = || Options {
        only: true,
        ..options()
    };
    let absent = block(load(&server, &disk, only())).err().unwrap();
    assert_eq!(
        (absent.code(), absent.to_string().as_str()),
        ("NotStored", "owner/name is not on this device")
    );
    server.cut_after.set(Some(10 * CHUNK));
    block(load(&server, &disk, options())).err().unwrap();
    let partly = block(load(&server, &disk, only())).err().unwrap();
    assert_eq!(
        partly.to_string(),
        "owner/name is not on this device, or only a part of it"
    );
    assert!(block(list(&disk)).unwrap()[0].bytes >= 9 * CHUNK);
    block(delete(&disk, &folder())).unwrap();
    assert_eq!(block(list(&disk)).unwrap(), []);
}

#[test]
fn a_download_is_a_load_without_a_reader() {
    let (server, disk) = (server(26, true), MemoryDisk::default());
    let total: u64 = server.files.files().map(|(_, bytes)| bytes.len() as u64).sum();
    let download = |cut: Option<u64>| {
        server.cut_after.set(cut);
        let mut seen = Vec::new();
        let report = block(async {
            let stored = Stored::open(server.clone(), Ok(disk.clone()), options()).await?;
            for name in FILES {
                stored.open(name).await?;
            }
            stored.fetch_all(&mut |done, total| seen.push((done, total))).await?;
            stored.finish().await
        });
        (report, seen)
    };
    assert!(download(Some(20 * CHUNK)).0.is_err());
    let (report, seen) = download(None);
    let report = report.unwrap();
    assert!(
        report.complete && report.bytes_fetched < total - 15 * CHUNK,
        "{report:?}"
    );
    assert_eq!((seen[0], *seen.last().unwrap()), ((0, total), (total, total)));
    // What is there is held against its hashes.
    let again = download(None).0.unwrap();
    assert_eq!((again.bytes_fetched, again.bytes_read), (0, total));
    assert_eq!(block(export_names(&disk, &folder())).unwrap().len(), 4);
}
