//! The planner's rules, each of which first asks whether the query still has time: planning is one piece of work otherwise,
//! however long it takes.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::config::ConfigOptions;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{Analyzer, AnalyzerRule, Optimizer, OptimizerConfig, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::{PhysicalOptimizer, PhysicalOptimizerContext};
use datafusion::physical_plan::ExecutionPlan;

use crate::sql::error::mistaken;
use crate::sql::watch::Watch;
use crate::sql::zeros::OneZero;

/// The planner's own rules and that of the zeros, watched.
pub(super) fn watched(builder: SessionStateBuilder, watch: &Arc<Watch>) -> SessionStateBuilder {
    let one_zero: Arc<dyn AnalyzerRule + Send + Sync> = Arc::new(OneZero::rule());
    let typing = Analyzer::new().rules.into_iter().map(|rule| Arc::new(Typing(rule)) as _);
    let analyzer = typing.chain([one_zero]);
    // Without its last key a group is there though it has no row.
    let optimizer = Optimizer::new().rules.into_iter().filter(|rule| rule.name() != "eliminate_group_by_constant");
    let physical = PhysicalOptimizer::new().rules.into_iter();
    builder
        .with_analyzer_rules(analyzer.map(|rule| Arc::new(Watched::new(rule, watch)) as _).collect())
        .with_optimizer_rules(optimizer.map(|rule| Arc::new(Watched::new(rule, watch)) as _).collect())
        .with_physical_optimizer_rules(physical.map(|rule| Arc::new(Watched::new(rule, watch)) as _).collect())
}

struct Watched<R: ?Sized> {
    rule: Arc<R>,
    watch: Arc<Watch>,
}

impl<R: ?Sized> Watched<R> {
    fn new(rule: Arc<R>, watch: &Arc<Watch>) -> Self {
        Self { rule, watch: Arc::clone(watch) }
    }
}

impl<R: fmt::Debug + ?Sized> fmt::Debug for Watched<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rule.fmt(f)
    }
}

/// A rule that gives expressions their types, or finds that they can have none.
#[derive(Debug)]
struct Typing(Arc<dyn AnalyzerRule + Send + Sync>);

impl AnalyzerRule for Typing {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        self.0.analyze(plan, config).map_err(mistaken)
    }
}

impl AnalyzerRule for Watched<dyn AnalyzerRule + Send + Sync> {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        self.watch.check()?;
        self.rule.analyze(plan, config)
    }
}

impl OptimizerRule for Watched<dyn OptimizerRule + Send + Sync> {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.rule.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        self.watch.check()?;
        self.rule.rewrite(plan, config)
    }
}

impl PhysicalOptimizerRule for Watched<dyn PhysicalOptimizerRule + Send + Sync> {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        self.watch.check()?;
        self.rule.optimize(plan, config)
    }

    fn optimize_with_context(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        context: &dyn PhysicalOptimizerContext,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.watch.check()?;
        self.rule.optimize_with_context(plan, context)
    }

    fn schema_check(&self) -> bool {
        self.rule.schema_check()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use datafusion::logical_expr::LogicalPlanBuilder;

    use super::*;
    use crate::sql::limits::QueryLimits;

    #[tokio::test]
    async fn planning_ends_when_the_time_is_over_or_nobody_waits() {
        let plan = LogicalPlanBuilder::empty(true).build().unwrap();
        let state = |watch: &Arc<Watch>| watched(SessionStateBuilder::new(), watch).build();
        let watch = Arc::new(Watch::begin(QueryLimits::default()));
        let going_on = state(&watch);
        let planned = going_on.optimize(&plan).unwrap();
        assert!(going_on.query_planner().create_physical_plan(&planned, &going_on).await.is_ok());
        watch.abandon();
        assert!(going_on.optimize(&plan).is_err());
        assert!(going_on.query_planner().create_physical_plan(&planned, &going_on).await.is_err());
        let over = Arc::new(Watch::begin(QueryLimits { timeout: Duration::ZERO, ..QueryLimits::default() }));
        assert!(state(&over).optimize(&plan).is_err());
    }
}
