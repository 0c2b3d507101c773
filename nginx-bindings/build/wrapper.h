/* What the bindings are made of, and the check of them. */

#include <stddef.h>

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_channel.h>
#include <ngx_http.h>

/* A variable, for bindgen does not join the string literals of a macro. */
const char *PYWSGI_NGINX_SIGNATURE = NGX_MODULE_SIGNATURE;

#if (NGX_SSL)
/* src/nginx/openssl.rs takes OpenSSL's object from the beginning of the structure. */
_Static_assert(offsetof(ngx_ssl_connection_t, connection) == 0, "ngx_ssl_connection_t has another first field");
#endif
