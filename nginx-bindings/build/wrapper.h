/* What the bindings are made of, and the check of them. */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

/* A variable, for bindgen does not join the string literals of a macro. */
const char *PYWSGI_NGINX_SIGNATURE = NGX_MODULE_SIGNATURE;
