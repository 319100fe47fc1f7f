//! Key packages in SQLite.

use sqlx::{Row, query, query_scalar};
use undertone_keys::WallTime;
use undertone_keys::digest::sha256;
use undertone_keys::envelope::Address;

use super::key_packages::{HandedOut, KeyPackages, Left, NewKeyPackages};
use super::sqlite::{Sqlite, seconds};
use super::{StoreError, Token};

fn time(stored: Option<i64>) -> Result<Option<WallTime>, StoreError> {
    let time = stored.map(|time| u64::try_from(time).map(WallTime::from_unix));
    time.transpose().map_err(|_| StoreError::Damaged)
}

impl KeyPackages for Sqlite {
    async fn add_key_packages(&self, token: &Token, new: NewKeyPackages, now: WallTime) -> Result<(), StoreError> {
        let mut transaction = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        let token = token.hash.as_slice();
        let there = query("SELECT 1 FROM tokens WHERE hash = ?").bind(token);
        if there.fetch_optional(&mut *transaction).await?.is_none() {
            return Err(StoreError::Conflict);
        }
        if new.last_resort.is_some() {
            let before = query("DELETE FROM key_packages WHERE token = ? AND suite = ? AND last_resort = 1");
            before.bind(token).bind(new.suite).execute(&mut *transaction).await?;
        }
        let once = new.packages.iter().map(|package| (package, false));
        for (package, last_resort) in once.chain(new.last_resort.iter().map(|package| (package, true))) {
            let insert = "INSERT INTO key_packages (token, suite, last_resort, hash, package, expires)
                          VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (token, hash) DO NOTHING";
            query(insert)
                .bind(token)
                .bind(new.suite)
                .bind(last_resort)
                .bind(sha256(&[package]).as_slice())
                .bind(package.as_slice())
                .bind(seconds(new.expires))
                .execute(&mut *transaction)
                .await?;
        }
        let good = "FROM key_packages WHERE token = ? AND expires > ? AND package IS NOT NULL";
        let count = format!("SELECT COUNT(*) {good} AND last_resort = 0 AND suite = ?");
        let count = query_scalar(sqlx::AssertSqlSafe(count)).bind(token).bind(seconds(now)).bind(new.suite);
        let count: u32 = count.fetch_one(&mut *transaction).await?;
        let suites = query_scalar(sqlx::AssertSqlSafe(format!("SELECT COUNT(DISTINCT suite) {good}")));
        let suites: u32 = suites.bind(token).bind(seconds(now)).fetch_one(&mut *transaction).await?;
        if count > new.most || suites > new.suites {
            return Err(StoreError::Conflict);
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn key_packages_left(&self, token: &Token, now: WallTime) -> Result<Vec<Left>, StoreError> {
        let select =
            "SELECT suite, SUM(last_resort = 0) AS count, MIN(CASE last_resort WHEN 0 THEN expires END) AS first,
                      MAX(CASE last_resort WHEN 1 THEN expires END) AS resort
                      FROM key_packages WHERE token = ? AND expires > ? AND package IS NOT NULL
                      GROUP BY suite ORDER BY suite";
        let rows = query(select).bind(token.hash.as_slice()).bind(seconds(now)).fetch_all(self.pool()).await?;
        let left = |row: sqlx::sqlite::SqliteRow| {
            Ok(Left {
                suite: row.try_get("suite")?,
                left: row.try_get("count")?,
                expires: time(row.try_get("first")?)?,
                last_resort: time(row.try_get("resort")?)?,
            })
        };
        rows.into_iter().map(left).collect()
    }

    async fn claim_key_packages(
        &self,
        suite: u16,
        devices: &[Address],
        now: WallTime,
    ) -> Result<Vec<HandedOut>, StoreError> {
        let mut transaction = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        let mut handed_out = Vec::with_capacity(devices.len());
        for Address { user, device } in devices {
            let select = "SELECT key_packages.id, key_packages.package, key_packages.last_resort
                          FROM key_packages JOIN tokens ON tokens.hash = key_packages.token
                          WHERE tokens.device = ? AND tokens.user = ? AND key_packages.suite = ?
                          AND key_packages.expires > ? AND key_packages.package IS NOT NULL
                          ORDER BY key_packages.last_resort, key_packages.expires, key_packages.id LIMIT 1";
            let select = query(select).bind(device.as_bytes().as_slice()).bind(user.as_str()).bind(suite);
            let Some(row) = select.bind(seconds(now)).fetch_optional(&mut *transaction).await? else {
                handed_out.push(HandedOut { package: None, last_resort: false, left: 0 });
                continue;
            };
            let last_resort: bool = row.try_get("last_resort")?;
            let mut left = 0;
            if !last_resort {
                let id: i64 = row.try_get("id")?;
                let used = query("UPDATE key_packages SET package = NULL WHERE id = ?").bind(id);
                used.execute(&mut *transaction).await?;
                let count = "SELECT COUNT(*) FROM key_packages JOIN tokens ON tokens.hash = key_packages.token
                             WHERE tokens.device = ? AND key_packages.suite = ? AND key_packages.last_resort = 0
                             AND key_packages.expires > ? AND key_packages.package IS NOT NULL";
                let count = query_scalar(count).bind(device.as_bytes().as_slice()).bind(suite).bind(seconds(now));
                left = count.fetch_one(&mut *transaction).await?;
            }
            handed_out.push(HandedOut { package: Some(row.try_get("package")?), last_resort, left });
        }
        transaction.commit().await?;
        Ok(handed_out)
    }

    async fn forget_key_packages(&self, now: WallTime) -> Result<u64, StoreError> {
        let forget = query("DELETE FROM key_packages WHERE expires <= ?").bind(seconds(now));
        Ok(forget.execute(self.pool()).await?.rows_affected())
    }
}
