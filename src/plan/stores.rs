//! `[old]` and `[new]`.

use super::names::{self, PlanFolder};
use super::reader::{Section, Text};
use super::{
    CassandraPlan, ClientCertificate, Consistency, DEFAULT_CONTROL_TABLE, DEFAULT_LOCAL_REGION,
    DynamoDbPlan, Login, NewStorePlan, OldStorePlan, Tls,
};

/// More than this no page ever has.
const LARGEST_PAGE: u32 = 5_000;
/// Ranges that are read at once.
const MOST_READERS: u32 = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OldKind {
    Cassandra,
    Embedded,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum NewKind {
    DynamoDb,
    Embedded,
}

/// `[old]`, as far as it could be read. What is `None` was noted as an error.
pub(super) struct OldSection {
    pub kind: Option<OldKind>,
    pub store: Option<OldStorePlan>,
    /// The folder of an embedded store.
    pub folder: Option<PlanFolder>,
}

/// `[new]`, as far as it could be read. What is `None` was noted as an error.
pub(super) struct NewSection {
    pub kind: Option<NewKind>,
    pub store: Option<NewStorePlan>,
    /// The folder of an embedded store.
    pub folder: Option<PlanFolder>,
    pub control_table: Text,
}

pub(super) fn old(mut old: Section<'_>) -> OldSection {
    old.require("kind", "write kind = \"cassandra\" or \"embedded\"");
    let kinds = [
        ("cassandra", OldKind::Cassandra),
        ("embedded", OldKind::Embedded),
    ];
    let kind = old.choice("kind", &kinds);
    let (mut store, mut folder) = (None, None);
    match kind {
        Some(OldKind::Cassandra) => store = cassandra(&mut old).map(OldStorePlan::Cassandra),
        Some(OldKind::Embedded) => {
            folder = path(&mut old);
            store = folder.as_ref().map(|folder| OldStorePlan::Embedded {
                path: folder.path.clone(),
            });
        }
        None => {}
    }
    // Which keys are known depends on the kind.
    if kind.is_some() {
        old.finish();
    }
    OldSection {
        kind,
        store,
        folder,
    }
}

pub(super) fn new(mut new: Section<'_>) -> NewSection {
    new.require("kind", "write kind = \"dynamodb\" or \"embedded\"");
    let kinds = [
        ("dynamodb", NewKind::DynamoDb),
        ("embedded", NewKind::Embedded),
    ];
    let kind = new.choice("kind", &kinds);
    let control_table = new.text("control_table").unwrap_or_else(|| Text {
        value: DEFAULT_CONTROL_TABLE.into(),
        shown: DEFAULT_CONTROL_TABLE.into(),
        line: new.line,
    });
    let (mut store, mut folder) = (None, None);
    match kind {
        Some(NewKind::DynamoDb) => store = dynamodb(&mut new).map(NewStorePlan::DynamoDb),
        Some(NewKind::Embedded) => {
            folder = path(&mut new);
            store = folder.as_ref().map(|folder| NewStorePlan::Embedded {
                path: folder.path.clone(),
            });
        }
        None => {}
    }
    if kind.is_some() {
        new.finish();
    }
    NewSection {
        kind,
        store,
        folder,
        control_table,
    }
}

fn path(section: &mut Section<'_>) -> Option<PlanFolder> {
    section.require("path", "write path = \"…\", the store's folder");
    section.text("path").map(PlanFolder::from)
}

fn cassandra(old: &mut Section<'_>) -> Option<CassandraPlan> {
    let source = old.source;
    old.require("nodes", "write nodes = [\"host:9042\"]");
    if old.is_empty_array("nodes") {
        let line = old.line_of("nodes");
        source.wrong(line, "`nodes` is empty", "write nodes = [\"host:9042\"]");
    }
    let nodes = old
        .texts("nodes")
        .iter()
        .filter_map(|node| names::node(source, node))
        .collect();

    old.require("keyspace", "write keyspace = \"…\"");
    let keyspace = old
        .text("keyspace")
        .filter(|keyspace| names::cassandra_name(source, "keyspace", keyspace));
    let reads = consistency(old, "consistency", &UNFIT_FOR_READS);
    let reads = reads.unwrap_or(Consistency::LocalQuorum);
    let writes = consistency(old, "write_consistency", &UNFIT_FOR_WRITES);
    let readers = old.whole("readers", 1..=MOST_READERS, "ranges");
    let page_rows = old.whole("page_rows", 1..=LARGEST_PAGE, "rows");
    let datacenter = old.text("datacenter").map(|datacenter| datacenter.value);
    let login = login(old);
    let tls = old.section("tls").map(tls);

    Some(CassandraPlan {
        nodes,
        keyspace: keyspace?.value,
        consistency: reads,
        write_consistency: writes.unwrap_or(reads),
        readers,
        page_rows,
        datacenter,
        login,
        tls,
    })
}

/// Levels that have a name but can't be used, and why; and what to write.
struct UnfitLevels {
    levels: [(&'static str, &'static str); 3],
    instead: &'static str,
}

const UNFIT_FOR_READS: UnfitLevels = UnfitLevels {
    levels: [
        ("any", "it is for writes only"),
        ("serial", "it reads one partition at a time, never a range"),
        (
            "local_serial",
            "it reads one partition at a time, never a range",
        ),
    ],
    instead: "write \"local_quorum\", or \"all\" where the application wrote below quorum",
};

const UNFIT_FOR_WRITES: UnfitLevels = UnfitLevels {
    levels: [
        ("any", "a write that no replica has can't be read back"),
        (
            "serial",
            "it is how conditions are agreed on, which a write on a condition does by itself",
        ),
        (
            "local_serial",
            "it is how conditions are agreed on, which a write on a condition does by itself",
        ),
    ],
    instead: "write the level that the application writes at",
};

/// `None` if it isn't there, or wrong.
fn consistency(
    old: &mut Section<'_>,
    key: &'static str,
    unfit: &UnfitLevels,
) -> Option<Consistency> {
    let text = old.text(key)?;
    let refused = unfit
        .levels
        .iter()
        .find(|(name, _)| text.value.eq_ignore_ascii_case(name));
    if let Some((name, why)) = refused {
        old.source.wrong(
            text.line,
            format!("`{key}` can't be \"{name}\": {why}"),
            unfit.instead,
        );
        return None;
    }
    old.choose(key, &text, Consistency::NAMES)
}

fn login(old: &mut Section<'_>) -> Option<Login> {
    let username = old.text("username");
    let password = old.secret("password");
    match (old.has("username"), old.has("password")) {
        (true, false) => old.source.wrong(
            old.line_of("username"),
            "`username` is set but `password` is not",
            "write password = \"${CASSANDRA_PASSWORD}\"",
        ),
        (false, true) => old.source.wrong(
            old.line_of("password"),
            "`password` is set but `username` is not",
            "write username = \"…\"",
        ),
        (true, true) | (false, false) => {}
    }
    Some(Login {
        username: username?.value,
        password: password?,
    })
}

fn tls(mut tls: Section<'_>) -> Tls {
    let ca = tls.text("ca").map(|ca| ca.value.into());
    let cert = tls.text("cert");
    let key = tls.text("key");
    match (tls.has("cert"), tls.has("key")) {
        (true, false) => tls.source.wrong(
            tls.line_of("cert"),
            "`cert` is set but `key` is not",
            "write key = \"…\", the certificate's private key",
        ),
        (false, true) => tls.source.wrong(
            tls.line_of("key"),
            "`key` is set but `cert` is not",
            "write cert = \"…\", the certificate of this private key",
        ),
        (true, true) | (false, false) => {}
    }
    tls.finish();
    let client = cert.zip(key).map(|(cert, key)| ClientCertificate {
        cert: cert.value.into(),
        key: key.value.into(),
    });
    Tls { ca, client }
}

fn dynamodb(new: &mut Section<'_>) -> Option<DynamoDbPlan> {
    let region = new.text("region");
    let endpoint = new.text("endpoint");
    if let Some(endpoint) = &endpoint {
        names::endpoint(new.source, endpoint);
    }
    if let Some(region) = &region {
        names::region(new.source, region);
    }
    if !new.has("endpoint") {
        names::no_other_endpoint(new.source, new.line);
    }
    let of_aws = endpoint
        .as_ref()
        .is_none_or(|endpoint| endpoint.value.contains("amazonaws.com"));
    if !new.has("region") && of_aws {
        new.source.wrong(
            new.line,
            "`region` is missing in [new]",
            "write region = \"us-east-1\", or endpoint = \"http://127.0.0.1:8000\" for a server of your own",
        );
    }
    let ca = new.section("tls").and_then(|mut tls| {
        tls.require("ca", "write ca = \"…\", a PEM file, or leave [new.tls] out");
        let ca = tls.text("ca");
        tls.finish();
        ca
    });
    Some(DynamoDbPlan {
        region: region.map_or_else(|| DEFAULT_LOCAL_REGION.into(), |region| region.value),
        endpoint: endpoint.map(|endpoint| endpoint.value),
        ca: ca.map(|ca| ca.value.into()),
        partiql: new.flag("partiql"),
    })
}
