pub async fn run(
    _o: &super::output::Output,
    _r: std::sync::Arc<super::progress::Reporter>,
    _c: tokio_util::sync::CancellationToken,
    _a: &super::args::DemoArgs,
) -> Result<(), crate::operations::OperationError> {
    Ok(())
}
