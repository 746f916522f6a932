//! A request asks for its permit when it is signed: after credentials have been waited for, and after every
//! other request of the same call. One that is refused here takes no connection. It takes the permit along,
//! and its [`super::socket`] asks again whenever it writes.

use aws_sdk_dynamodb::config::interceptors::{
    BeforeTransmitInterceptorContextMut, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;

use crate::store::Permit;

/// Sends nothing without a permit. What it was refused with is found again by
/// [`super::errors::SdkCall::failed`].
#[derive(Debug)]
pub(super) struct Asking(pub Option<Permit>);

impl Intercept for Asking {
    fn name(&self) -> &'static str {
        "Asking"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(permit) = &self.0 {
            context.request_mut().add_extension(permit.clone());
        }
        Ok(())
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        Permit::ask_of(&self.0).map_err(BoxError::from)
    }
}
