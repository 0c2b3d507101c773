//! nginx's own lists of the response fields that may be repeated, for use while fields are added.

#[cfg(nginx_1_23)]
use std::ptr;

use nginx_sys::{ngx_pool_t, ngx_table_elt_t};

/// One entry for each list of `headers_out` that a response has.
#[derive(Default)]
pub(in crate::nginx) struct Lists {
    #[cfg(nginx_1_23)]
    pub(in crate::nginx) www_authenticate: List,
    pub(in crate::nginx) cache_control: List,
    pub(in crate::nginx) link: List,
}

#[cfg(nginx_1_23)]
type Fields = *mut ngx_table_elt_t;

/// The end of a list. It is stored so that the list is not walked for each field: an application may send a hundred
/// thousand fields of one kind.
#[cfg(nginx_1_23)]
pub(in crate::nginx) struct List {
    end: *mut Fields,
}

#[cfg(nginx_1_23)]
impl Default for List {
    fn default() -> Self {
        Self { end: ptr::null_mut() }
    }
}

#[cfg(nginx_1_23)]
impl List {
    /// Adds a field at the end of the list that begins at `fields`.
    ///
    /// # Safety
    ///
    /// All pointers belong to one live request. `fields` is the same at each call, and nothing else changes the list
    /// meanwhile.
    pub(in crate::nginx) unsafe fn append(
        &mut self,
        _pool: *mut ngx_pool_t,
        fields: *mut Fields,
        field: *mut ngx_table_elt_t,
    ) -> Option<()> {
        if self.end.is_null() {
            self.end = fields;
        }
        // SAFETY: the list ends with null, and a field does not move as long as its request lives.
        while let Some(last) = unsafe { (*self.end).as_mut() } {
            self.end = &raw mut last.next;
        }
        // SAFETY: the end points into the request or into the last field.
        unsafe { *self.end = field };
        Some(())
    }
}

/// Before 1.23 a list is an array of pointers, which stores its own length.
#[cfg(not(nginx_1_23))]
#[derive(Default)]
pub(in crate::nginx) struct List;

#[cfg(not(nginx_1_23))]
impl List {
    /// Adds a field at the end of the array.
    ///
    /// # Safety
    ///
    /// All pointers belong to one live request.
    pub(in crate::nginx) unsafe fn append(
        &mut self,
        pool: *mut ngx_pool_t,
        fields: *mut nginx_sys::ngx_array_t,
        field: *mut ngx_table_elt_t,
    ) -> Option<()> {
        // SAFETY: the array and the pool are the request's own, and an element of the array is a pointer.
        unsafe {
            if (*fields).elts.is_null() {
                let size = size_of::<*mut ngx_table_elt_t>();
                *fields = *nginx_sys::ngx_array_create(pool, 2, size).as_ref()?;
            }
            *nginx_sys::ngx_array_push(fields).cast::<*mut ngx_table_elt_t>().as_mut()? = field;
        }
        Some(())
    }
}
