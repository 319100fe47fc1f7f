//! Every domain string of this crate (rule ID-8).

use undertone_keys::labels::Label;

/// Stands at the front of the log's leaves.
pub const LEAF: Label = Label::declare("undertone/KT-3/leaf/v1");
/// Stands at the front of what the directory's VRF is evaluated on.
pub const DIRECTORY_LABEL: Label = Label::declare("undertone/KT-5/label/v1");
/// What names evidence by its contents.
pub const EVIDENCE: Label = Label::declare("undertone/KT-9/evidence/v1");
/// What names evidence of two logs by its contents.
pub const DIVERGENCE: Label = Label::declare("undertone/KT-13/divergence/v1");

/// All of them, for the test that none is used twice and for the documentation.
pub const ALL: &[Label] = &[LEAF, DIRECTORY_LABEL, EVIDENCE, DIVERGENCE];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_8_labels_are_distinct_and_well_formed() {
        let keys = undertone_keys::labels::ALL;
        for (i, label) in ALL.iter().enumerate() {
            assert!(label.as_str().starts_with("undertone/") && label.as_str().ends_with("/v1"));
            assert!(!label.as_bytes().contains(&0));
            assert!(!ALL[..i].contains(label) && !keys.contains(label), "{} stands twice", label.as_str());
        }
    }
}
