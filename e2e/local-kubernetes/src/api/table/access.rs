//! Columns of role bindings.

use serde_json::Value;

use super::{Columns, column, core::subject_names, items, named, string};

pub(super) fn bindings() -> Columns {
    let headings = vec![
        column("Role", "RoleRef references the role that is bound."),
        column("Users", "Users in the roleBinding").wide(),
        column("Groups", "Groups in the roleBinding").wide(),
        column("ServiceAccounts", "ServiceAccounts in the roleBinding").wide(),
    ];
    named(headings, |binding| {
        let subjects = items(binding, ".subjects");
        vec![
            format!(
                "{}/{}",
                string(binding, ".roleRef.kind"),
                string(binding, ".roleRef.name")
            )
            .into(),
            subject_names(subjects, "User").into(),
            subject_names(subjects, "Group").into(),
            service_accounts(subjects).into(),
        ]
    })
}

fn service_accounts(subjects: &[Value]) -> String {
    let accounts = subjects
        .iter()
        .filter(|subject| subject["kind"] == "ServiceAccount");
    let names = accounts.map(|account| {
        format!(
            "{}/{}",
            string(account, ".namespace"),
            string(account, ".name")
        )
    });
    names.collect::<Vec<_>>().join(",")
}
