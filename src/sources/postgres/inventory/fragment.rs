//! Pieces of SQL that most kinds share: names, owners, grants, comments, what is left out.
//!
//! They stand inside queries that name their own tables by a letter or two; here names begin with `z`, so that none hides another.

use super::Exclusions;

/// Knows the server's major version and what was excluded.
#[derive(Debug)]
pub(super) struct Fragments {
    pub(super) major: u32,
    schemas: Vec<String>,
    tables: Vec<String>,
}

impl Fragments {
    pub(super) fn new(major: u32, exclusions: &Exclusions) -> Self {
        let literals = |names: &[String]| names.iter().map(|name| literal(name)).collect();
        Self { major, schemas: literals(&exclusions.schemas), tables: literals(&exclusions.tables) }
    }

    /// A `WITH` that collects the excluded relations, the sequences that they own and the views that read them.
    pub(super) fn prelude(&self) -> String {
        if self.schemas.is_empty() && self.tables.is_empty() {
            return String::new();
        }
        format!(
            "WITH RECURSIVE excluded(oid) AS (\
             SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE quote_ident(n.nspname) = ANY (ARRAY[{}]::text[]) \
             OR quote_ident(n.nspname) || '.' || quote_ident(c.relname) = ANY (ARRAY[{}]::text[]) \
             UNION SELECT coalesce(r.ev_class, d.objid) FROM excluded e \
             JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = e.oid \
             LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid \
             AND r.rulename = '_RETURN' \
             LEFT JOIN pg_class s ON d.classid = 'pg_class'::regclass AND s.oid = d.objid \
             WHERE r.oid IS NOT NULL OR (s.relkind = 'S' AND d.deptype IN ('a', 'i'))) ",
            self.schemas.join(", "),
            self.tables.join(", "),
        )
    }

    /// Whether the relation with this oid is in the backup.
    pub(super) fn kept_relation(&self, oid: &str) -> String {
        if self.schemas.is_empty() && self.tables.is_empty() {
            return "true".to_owned();
        }
        format!("NOT EXISTS (SELECT FROM excluded WHERE excluded.oid = {oid})")
    }

    /// Whether this `pg_namespace` row is a schema of the user's that is in the backup.
    pub(super) fn kept_schema(&self, alias: &str) -> String {
        let user = format!("({alias}.nspname !~ '^pg_' AND {alias}.nspname <> 'information_schema')");
        if self.schemas.is_empty() {
            return user;
        }
        format!("{user} AND quote_ident({alias}.nspname) <> ALL (ARRAY[{}]::text[])", self.schemas.join(", "))
    }

    /// Whether the type with this oid lives in a schema that is in the backup, or in the system's.
    pub(super) fn kept_type(&self, oid: &str) -> String {
        if self.schemas.is_empty() {
            return "true".to_owned();
        }
        format!(
            "NOT EXISTS (SELECT FROM pg_type kt JOIN pg_namespace kn ON kn.oid = kt.typnamespace \
             WHERE kt.oid = {oid} AND quote_ident(kn.nspname) = ANY (ARRAY[{}]::text[]))",
            self.schemas.join(", ")
        )
    }
}

/// A string literal; `standard_conforming_strings` is on.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `schema.name`, quoted where SQL needs it.
pub(super) fn qualified(schema_alias: &str, name: &str) -> String {
    format!("quote_ident({schema_alias}.nspname) || '.' || quote_ident({name})")
}

/// Whether the object is not a member of an extension.
pub(super) fn not_member(catalog: &str, oid: &str) -> String {
    format!("NOT {}", member(catalog, oid))
}

pub(super) fn member(catalog: &str, oid: &str) -> String {
    format!(
        "EXISTS (SELECT FROM pg_depend zm WHERE zm.classid = '{catalog}'::regclass AND zm.objid = {oid} \
         AND zm.objsubid = 0 AND zm.deptype = 'e')"
    )
}

pub(super) fn owner(role: &str) -> String {
    format!("pg_get_userbyid({role})")
}

pub(super) fn comment(catalog: &str, oid: &str) -> String {
    comment_of_column(catalog, oid, "0")
}

pub(super) fn comment_of_column(catalog: &str, oid: &str, column: &str) -> String {
    format!(
        "(SELECT zd.description FROM pg_description zd WHERE zd.objoid = {oid} \
         AND zd.classoid = '{catalog}'::regclass AND zd.objsubid = {column})"
    )
}

pub(super) fn shared_comment(catalog: &str, oid: &str) -> String {
    format!(
        "(SELECT zd.description FROM pg_shdescription zd WHERE zd.objoid = {oid} \
         AND zd.classoid = '{catalog}'::regclass)"
    )
}

pub(super) fn labels(catalog: &str, oid: &str) -> String {
    labels_of_column(catalog, oid, "0")
}

pub(super) fn labels_of_column(catalog: &str, oid: &str, column: &str) -> String {
    format!(
        "(SELECT jsonb_object_agg(zl.provider, zl.label) FROM pg_seclabel zl WHERE zl.objoid = {oid} \
         AND zl.classoid = '{catalog}'::regclass AND zl.objsubid = {column})"
    )
}

/// Extensions that a plain object was told to depend on.
pub(super) fn depends_on_extension(catalog: &str, oid: &str) -> String {
    format!(
        "(SELECT jsonb_agg(zx.extname ORDER BY zx.extname) FROM pg_depend zd JOIN pg_extension zx ON zx.oid = zd.refobjid \
         WHERE zd.classid = '{catalog}'::regclass AND zd.objid = {oid} AND zd.deptype = 'x')"
    )
}

/// Grants that differ from what a new object of this type and owner has; null where there are none.
///
/// `object_type` is a letter of `acldefault`. An explicit list that equals the default is the default: a dump does not tell
/// them apart.
pub(super) fn grants(acl: &str, object_type: char, owner: &str) -> String {
    grants_beyond(acl, &format!("acldefault('{object_type}', {owner})"), owner)
}

/// Grants in `acl` where they differ from `initial`.
pub(super) fn grants_beyond(acl: &str, initial: &str, owner: &str) -> String {
    format!("CASE WHEN {acl} IS NOT NULL THEN nullif({}, {}) END", grant_lines(acl, owner), grant_lines(initial, owner))
}

/// `["PUBLIC: USAGE", "app: SELECT with grant option", "x: SELECT by y"]`, sorted; a grantor other than the owner is named.
pub(super) fn grant_lines(acl: &str, owner: &str) -> String {
    format!(
        "coalesce((SELECT jsonb_agg(zg.line ORDER BY zg.line COLLATE \"C\") FROM (SELECT \
         CASE za.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(za.grantee)) END \
         || ': ' || za.privilege_type || CASE WHEN za.is_grantable THEN ' with grant option' ELSE '' END \
         || CASE WHEN za.grantor <> {owner} THEN ' by ' || quote_ident(pg_get_userbyid(za.grantor)) ELSE '' END AS line \
         FROM aclexplode({acl}) za) zg), '[]'::jsonb)"
    )
}

/// The elements of a text array, sorted; null for null.
pub(super) fn sorted(array: &str) -> String {
    format!("(SELECT jsonb_agg(zo.value ORDER BY zo.value COLLATE \"C\") FROM unnest({array}) AS zo(value))")
}

/// A name from another catalog by oid; null for an oid that is nobody's.
pub(super) fn qualified_by_oid(catalog: &str, prefix: &str, oid: &str) -> String {
    format!(
        "(SELECT quote_ident(zrn.nspname) || '.' || quote_ident(zr.{prefix}name) FROM {catalog} zr \
         JOIN pg_namespace zrn ON zrn.oid = zr.{prefix}namespace WHERE zr.oid = {oid})"
    )
}

/// A function by its signature; null for none.
pub(super) fn function(oid: &str) -> String {
    format!("nullif({oid}, 0)::oid::regprocedure::text")
}
