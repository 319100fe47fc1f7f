//! Sealing and opening a frame, beside the same bytes through AES-256-GCM alone.

use undertone_client::native::measure::sealing;

use crate::table::Table;

pub(crate) fn measure(table: &mut Table) {
    for cost in sealing() {
        let name = |what: &str| format!("{what}, seal and open {} bytes", cost.bytes);
        table.ratio(&name("SFrame"), cost.sframe, cost.alone, "ns", "AES-256-GCM alone", Some(1.2));
        table.ratio(&name("hop"), cost.hop, cost.alone, "ns", "AES-256-GCM alone", Some(1.2));
    }
}
