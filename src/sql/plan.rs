//! From a query to operators. The planner knows the topics of this query and the functions of the list, and nothing else: no
//! catalogue, no files, no settings.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, FieldRef, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue, TableReference, plan_err};
use datafusion::config::ConfigOptions;
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionStateDefaults;
use datafusion::execution::TaskContext;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, LogicalPlanBuilder, ScalarUDF, TableSource, WindowUDF,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SQLOptions, SessionConfig};
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast::{BinaryOperator, Query, Statement};

use crate::model::Problem;
use crate::sql::error::{mistaken, problem, told};
use crate::sql::functions::FUNCTIONS;
use crate::sql::growing::{Concatenation, grows};
use crate::sql::guard::guarded;
use crate::sql::limits::{GROWING_CALLS_MAX, LITERAL_BYTES_MAX, PLAN_COLUMNS_MAX, PLAN_NODES_MAX, QueryLimits};
use crate::sql::literals::typed;
use crate::sql::marks;
use crate::sql::rules::watched;
use crate::sql::scan::TopicTable;
use crate::sql::sound::sound;
use crate::sql::text::refused;
use crate::sql::watch::Watch;

/// A query that can be run.
pub(super) struct Planned {
    /// The columns of the answer. A column is marked as JSON where it is that of a topic, and nowhere else.
    pub(super) schema: SchemaRef,
    pub(super) operators: Arc<dyn ExecutionPlan>,
    pub(super) context: Arc<TaskContext>,
}

/// What a query has room for.
#[derive(Clone, Copy)]
pub(super) struct Room<'a> {
    pub(super) limits: &'a QueryLimits,
    pub(super) watch: &'a Arc<Watch>,
    /// Rows of a batch.
    pub(super) batch_rows: usize,
    /// The most rows of the answer; none for all.
    pub(super) rows_max: Option<usize>,
}

/// Plans a query over these tables.
///
/// # Errors
/// `invalid_body` for what the planner refuses or would become too large; `internal`.
pub(super) async fn plan(
    sql: &str,
    query: Box<Query>,
    tables: HashMap<String, Arc<TopicTable>>,
    room: Room<'_>,
) -> Result<Planned, Problem> {
    let planned = async {
        let mut state = session(room)?;
        // The moment of `now()`.
        state.mark_start_execution();
        let topics = Topics { tables, state: &state };
        let planner = SqlToRel::new_with_options(&topics, options());
        let plan = planner.sql_statement_to_plan(Statement::Query(query)).map_err(mistaken)?;
        SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false)
            .verify_plan(&plan)?;
        check_names(&plan)?;
        check_size(&plan)?;
        let plan = typed(sound(plan)?).map_err(mistaken)?;
        let marks = marks::kept(&plan);
        let plan = match room.rows_max {
            Some(rows) => LogicalPlanBuilder::from(plan).limit(0, Some(rows))?.build()?,
            None => plan,
        };
        let plan = state.optimize(&plan)?;
        check_size(&plan)?;
        check_growth(&plan)?;
        let operators = state.query_planner().create_physical_plan(&plan, &state).await?;
        let schema = marks::only(&operators.schema(), &marks);
        Ok(Planned { schema, operators: guarded(operators, room.watch)?, context: state.task_ctx() })
    };
    planned.await.map_err(|error| problem(sql, room.limits, &error))
}

fn options() -> ParserOptions {
    ParserOptions::new()
        // Names are compared with case, quoted or not.
        .with_enable_ident_normalization(false)
        .with_map_string_types_to_utf8view(false)
        .with_collect_spans(true)
}

/// A session with nothing in it, for one query.
fn session(room: Room<'_>) -> Result<SessionState> {
    let mut config = SessionConfig::new()
        .with_target_partitions(1)
        .with_batch_size(room.batch_rows)
        .with_information_schema(false)
        .with_create_default_catalog_and_schema(false);
    let options = config.options_mut();
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.time_zone = Some("UTC".to_owned());
    let memory = usize::try_from(room.limits.memory_bytes).unwrap_or(usize::MAX);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory)))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .build_arc()?;
    Ok(watched(SessionStateBuilder::new(), room.watch).with_config(config).with_runtime_env(runtime).build())
}

/// Refuses two columns of one name: a row of JSON could not tell them apart.
fn check_names(plan: &LogicalPlan) -> Result<()> {
    let mut names = HashSet::new();
    match plan.schema().fields().iter().find(|field| !names.insert(field.name())) {
        None => Ok(()),
        Some(field) => {
            let name = field.name();
            Err(told(refused(format!(
                "Two columns of the answer are named {name}; give one an alias, as in AS {name}_2."
            ))))
        }
    }
}

fn check_size(plan: &LogicalPlan) -> Result<()> {
    let (mut nodes, mut columns) = (0, 0_usize);
    plan.apply_with_subqueries(|node| {
        nodes += 1;
        columns = columns.saturating_add(node.schema().fields().len());
        let fits = nodes <= PLAN_NODES_MAX && columns <= PLAN_COLUMNS_MAX;
        Ok(if fits { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    if nodes > PLAN_NODES_MAX {
        let detail = format!("The query has more than {PLAN_NODES_MAX} steps.");
        return Err(told(refused(detail).with_limit(PLAN_NODES_MAX as u64)));
    }
    if columns > PLAN_COLUMNS_MAX {
        let detail = format!(
            "The steps of the query have more than {PLAN_COLUMNS_MAX} columns together; name those that are wanted, instead of *."
        );
        return Err(told(refused(detail).with_limit(PLAN_COLUMNS_MAX as u64)));
    }
    Ok(())
}

/// Bounds what is made of constants and by functions that make text longer, where a batch of rows repeats it.
fn check_growth(plan: &LogicalPlan) -> Result<()> {
    let (mut literals, mut calls) = (0_usize, 0_usize);
    plan.apply_with_subqueries(|node| {
        let makes_columns =
            matches!(node, LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_) | LogicalPlan::Window(_));
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                match expr {
                    Expr::ScalarFunction(ScalarFunction { func, .. }) if grows(func.name()) => calls += 1,
                    // Of what is only compared, no copy is made.
                    Expr::Literal(value, _) if makes_columns || value.size() > 1_024 => {
                        literals += 8 + value.size().saturating_sub(size_of::<ScalarValue>());
                    }
                    Expr::InList(_) => return Ok(TreeNodeRecursion::Jump),
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    if calls > GROWING_CALLS_MAX {
        let detail = format!("The query has more than {GROWING_CALLS_MAX} calls of ||, concat, replace and the like.");
        return Err(told(refused(detail).with_limit(GROWING_CALLS_MAX as u64)));
    }
    if literals > LITERAL_BYTES_MAX {
        let detail = format!("The query makes columns of constants with more than {LITERAL_BYTES_MAX} bytes.");
        return Err(told(refused(detail).with_limit(LITERAL_BYTES_MAX as u64)));
    }
    Ok(())
}

/// All that the planner knows.
struct Topics<'a> {
    tables: HashMap<String, Arc<TopicTable>>,
    state: &'a SessionState,
}

/// How syntax becomes calls of functions: first as this service has it.
static PLANNERS: LazyLock<Vec<Arc<dyn ExprPlanner>>> = LazyLock::new(|| {
    let mut planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(Syntax)];
    planners.extend(SessionStateDefaults::default_expr_planners());
    planners
});

impl ContextProvider for Topics<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match self.tables.get(name.table()).filter(|_| name.schema().is_none()) {
            Some(table) => Ok(provider_as_source(Arc::clone(table) as _)),
            None => plan_err!("there is no topic {name}"),
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &PLANNERS
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        FUNCTIONS.scalar.get(name).cloned()
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        FUNCTIONS.aggregate.get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        FUNCTIONS.window.get(name).cloned()
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn get_variable_field(&self, _names: &[String]) -> Option<FieldRef> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        FUNCTIONS.scalar.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        FUNCTIONS.aggregate.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        FUNCTIONS.window.keys().cloned().collect()
    }
}

/// Syntax that stands for functions which make values longer: held to their bound like those that are called by name.
#[derive(Debug)]
struct Syntax;

impl ExprPlanner for Syntax {
    fn plan_binary_op(&self, expr: RawBinaryExpr, _schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        if expr.op != BinaryOperator::StringConcat {
            return Ok(PlannerResult::Original(expr));
        }
        let call = ScalarFunction::new_udf(Concatenation::udf(), vec![expr.left, expr.right]);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }

    fn plan_array_literal(&self, items: Vec<Expr>, _schema: &DFSchema) -> Result<PlannerResult<Vec<Expr>>> {
        match FUNCTIONS.scalar.get("make_array") {
            Some(make) => {
                Ok(PlannerResult::Planned(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(make), items))))
            }
            None => Ok(PlannerResult::Original(items)),
        }
    }
}
