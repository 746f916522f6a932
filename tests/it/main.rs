//! it

mod dynamodb;
mod scripted;
