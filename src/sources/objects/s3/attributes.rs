//! What Amazon's types say about an object, in the words of a list.

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::get_object_acl::GetObjectAclOutput;

use crate::sources::objects::attributes::{AccessList, Attributes, Grant};

/// Everything but what has to be asked for apart.
pub(super) fn attributes_of(object: &GetObjectOutput) -> Attributes {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Attributes {
        content_type: owned(object.content_type()),
        content_encoding: owned(object.content_encoding()).filter(|encoding| !encoding.is_empty()),
        content_language: owned(object.content_language()),
        content_disposition: owned(object.content_disposition()),
        cache_control: owned(object.cache_control()),
        expires: owned(object.expires_string()),
        website_redirect_location: owned(object.website_redirect_location()),
        storage_class: object.storage_class().map(|class| class.as_str().to_owned()),
        metadata: object.metadata().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
        ..Attributes::default()
    }
}

pub(super) fn access_of(list: &GetObjectAclOutput) -> AccessList {
    let grant = |grant: &aws_sdk_s3::types::Grant| {
        let grantee = grant.grantee()?;
        let to = match (grantee.id(), grantee.uri(), grantee.email_address()) {
            (Some(id), _, _) => format!("id:{id}"),
            (_, Some(uri), _) => format!("uri:{uri}"),
            (_, _, Some(email)) => format!("email:{email}"),
            _ => return None,
        };
        Some(Grant { to, permission: grant.permission()?.as_str().to_owned() })
    };
    let mut grants: Vec<Grant> = list.grants().iter().filter_map(grant).collect();
    grants.sort();
    grants.dedup();
    AccessList { owner: list.owner().and_then(|owner| owner.id()).unwrap_or_default().to_owned(), grants }
}
