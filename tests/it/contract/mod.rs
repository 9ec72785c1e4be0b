//! One contract for all backends: each case is one function, run on each of them through the trait and over HTTP.

mod again;
mod cases;
mod crash;
mod custom;
mod subject;
mod table;

use self::subject::{ByHttp, ByTrait};

/// Runs each case on each backend, both ways.
macro_rules! contract {
    ($($case:ident)*) => {
        contract!(@backend memory $($case)*);
        contract!(@backend lance $($case)*);
        contract!(@backend persisting $($case)*);
    };
    (@backend $backend:ident $($case:ident)*) => {
        mod $backend {
            mod by_trait {
                use crate::contract::{ByTrait, cases};
                $(#[tokio::test]
                async fn $case() {
                    cases::$case(&ByTrait::new(stringify!($backend)).await).await;
                })*
            }
            mod over_http {
                use crate::contract::{ByHttp, cases};
                $(#[tokio::test]
                async fn $case() {
                    cases::$case(&ByHttp::new(stringify!($backend)).await).await;
                })*
            }
        }
    };
}

contract! {
    offsets_follow_each_other
    get_gives_what_was_put_in_order
    get_below_the_earliest_is_expired
    a_stream_that_does_not_block_ends_at_the_tail
    a_stream_that_blocks_waits_for_more
    a_stream_ends_at_its_limit
    a_flush_commits_all_that_was_put
    a_value_is_the_same_before_and_after_a_flush
    total_count_is_tail_minus_earliest
    stats_tell_what_is_held
    reads_cross_the_border_of_tail_and_table
    readers_that_follow_many_writers_miss_nothing
}
