"""uWSGI's options that have no counterpart, or need none: the reason, and whose options have it.

A name with `*` is a family: uWSGI's plugins have hundreds of options of one kind.
"""

from __future__ import annotations

SOCKET = "there is no socket between nginx and the application"
SIGNALS = "nginx's signals are its own"
FIXED = "the number of processes is fixed; threads start when needed"
LAZY = "write `start=lazy idle=TIME` behind `python_process`: it starts with a request"
EMPEROR = "use a `python_process` for each application, and `include conf.d/*.conf;`"
VASSALS = "write it into the file of each vassal"
TASKS = "use a task queue, a cache server or systemd's timers"
UNIT = "is for all of nginx: systemd's unit (deploy/systemd/nginx.service)"
CGROUP = "make it, give it to the workers' user, and write `cgroup=FOLDER` behind `python_process`"
HOOK = "systemd's ExecStartPre=; in each worker `pywsgi.on_worker_start` (docs/hooks.md)"
LOGIC = "is logic of the file: its lines are taken as they are"
LOG = "is done by what reads the log; `log_format` says what is in it"
LOG_IF = "write `access_log … if=$variable` with a `map`"
ROTATE = "logrotate and `nginx -s reopen` do it"
ROUTE = "write `location`, `rewrite`, `map`, `if` or `return`"
STATUS = "Prometheus fetches the numbers of `python_status`"
ALARM = "is done by what watches the log and the service"
LANGUAGE = "other languages stay with uWSGI"
ROUTER = "nginx is the router"
TLS = "nginx's ssl_… directives do it"
COMMAND = "is for the command alone"
LOOP = "requests run in threads; an asyncio application has `asgi_app`"
BUILD = "is for building or inspecting uWSGI"
CACHE = "use a cache server, or `proxy_cache` of nginx in front"
STATIC = "write `expires`, `gzip_static` or `types` in the location of the files"
DISCONNECT = "a disconnect is one line at `info`, and no exception"
MEMORY = "`python_memory_limit` goes by resident memory, `rlimit_as=` is a limit"
PYTHON = "Python starts after the fork, once in each worker"
INTERPRETER = "a process has one interpreter"

NOTHING: dict[str, str] = {
    SOCKET: (
        "shutdown-sockets socket uwsgi-socket suwsgi-socket ssl-socket http-socket-modifier1 "
        "http-socket-modifier2 https-socket-modifier1 https-socket-modifier2 "
        "http-path-info-no-decode-slashes fastcgi-socket fastcgi-nph-socket fastcgi-modifier1 "
        "fastcgi-modifier2 scgi-socket scgi-nph-socket scgi-modifier1 scgi-modifier2 raw-socket "
        "raw-modifier1 raw-modifier2 puwsgi-socket protocol socket-protocol "
        "undeferred-shared-socket abstract-socket chmod-socket chmod chown-socket map-socket "
        "socket-timeout no-fd-passing zerg zerg-fallback zerg-server zergpool zerg-pool udp "
        "multicast multicast-ttl multicast-loop socket-sndbuf socket-rcvbuf so-send-timeout "
        "socket-send-timeout so-write-timeout socket-write-timeout no-defer-accept freebind "
        "connect-and-read extract allowed-modifiers remap-modifier"
    ),
    SIGNALS: (
        "exit-on-reload stop reload pause suspend resume master-fifo harakiri-graceful-timeout "
        "harakiri-graceful-signal signal signal-bufsize signals-bufsize touch-signal fs-signal "
        "py-master-check-signals reaper"
    ),
    LAZY: "cheap idle",
    FIXED: (
        "cheaper cheaper-* die-on-idle die-on-no-workers min-worker-lifetime "
        "harakiri-queue-threshold harakiri-no-arh no-harakiri-arh no-harakiri-after-req-hook"
    ),
    VASSALS: "vassal-set vassals-set vassals-include vassals-include-before",
    EMPEROR: (
        "emperor-* early-emperor vassal-* vassals-* imperial-monitor-list "
        "imperial-monitors-list zeus heartbeat legion legion-* subscribe subscribe2 subscribe-* "
        "st subscription-* subscriptions-* unsubscribe-on-graceful-reload start-unsubscribed "
        "vhost vhost-host dynamic-apps max-apps no-default-app declare-option declare-option2"
    ),
    TASKS: (
        "spooler spooler-* mule mules mule-* mules-* farm queue queue-* locks lock-engine ftok "
        "persistent-ipcsem sharedarea py-sharedarea rpc-max timer signal-timer rbtimer "
        "signal-rbtimer cron cron2 unique-cron cron-* unique-* curl-cron curl-cron-* attach-daemon "
        "attach-daemon2 attach-control-daemon smart-attach-daemon smart-attach-daemon2 "
        "daemons-honour-stdin touch-mules-reload touch-spoolers-reload snmp snmp-community"
    ),
    CACHE: (
        "cache cache2 cache-* add-cache-item load-file-in-cache load-file-in-cache-gzip "
        "check-cache static-cache-paths static-cache-paths-name"
    ),
    UNIT: (
        "chroot pivot-root pivot_root pivot jail jailed jail* jid-file jidfile libjail refork* "
        "re-fork* ns ns-* namespace namespace-* unshare unshare2 setns setns-* "
        "cap ksm never-swap flock flock-wait flock2 flock-wait2 cpu-affinity "
        "mount-asap mount-pre-jail mount-post-jail mount-in-jail mount-as-* umount-* "
        "fork-socket fork-server check-mountpoint mountpoint-check check-mount mount-check "
        "propagate-touch master-as-root drop-after-init drop-after-apps immediate-uid "
        "immediate-gid add-gid wait-for-* wait-interface* wait-iface* notify-socket "
        "close-on-exec close-on-exec2 safe-fd fd-safe binsh no-orphans thread-stack-size-min "
        "honour-stdin use-abort privileged-binary-patch* unprivileged-binary-patch* binary-path "
        "force-cwd master-as-user worker-exec worker-exec2 ubsan"
    ),
    CGROUP: "cgroup cgroup-*",
    HOOK: ("hook-* exec-* call-* after-request-hook after-request-call touch-exec"),
    LOGIC: (
        "if-* ifenv ifexists ifplugin ifdir endif end-if else for for-* endfor end-for "
        "blacklist end-blacklist whitelist end-whitelist get resolve inject-before inject-after "
        "inherit include weight auto-weight config fallback-config mode"
    ),
    LOG: (
        "log-format logformat logformat-strftime log-format-strftime log-date logdate "
        "log-prefix log-micros log-encoder log-req-encoder worker-log-encoder "
        "worker-log-req-encoder log-drain log-filter log-route log-req-route logger-list "
        "loggers-list log-master log-master-bufsize log-master-stream log-master-req-stream "
        "logfile-chown logfile-chmod worker-logger worker-logger-req rsyslog-* notfound-log"
    ),
    LOG_IF: ("log-4xx log-5xx log-big log-zero log-ioerror log-sendfile"),
    ROTATE: ("log-maxsize log-backupname log-truncate log-reopen touch-logreopen touch-logrotate"),
    ROUTE: (
        "route route-* final-route final-route-* error-route error-route-* response-route "
        "response-route-* router-list routers-list collect-header response-header-collect "
        "pull-header static-skip-ext static-safe upload-progress"
    ),
    STATUS: (
        "stats stats-* memory-report metric metric-* metrics-* enable-metrics alarm-metric "
        "carbon carbon-* rrdtool rrdtool-* nagios zabbix-template profiler"
    ),
    ALARM: ("alarm alarm-* *-alarm lq-alarm log-alarm not-log-alarm not-alarm-log alarms-list"),
    LANGUAGE: (
        "need-plugin need-plugins plugin-dir plugins-dir plugin-list plugins-list autoload "
        "dlopen php-* early-php* rails rack rb* ruby* shared-rb* shared-ruby* shared-require "
        "require gemset rvm* psgi* perl* plshell* early-perl* early-psgi lua* mono* jvm* ring* "
        "clojure* jwsgi v8* cgi* gccgo* go-* goroutines pypy* erlang* xslt* webdav* symcall* "
        "dumbloop* ssi* fiber coroae geoip* glusterfs* gridfs* rados* ldap* pam* pty* sqlite* "
        "sqlite3 xattr* worker-mount http-stud-prefix graylog2* transformation* s3* tuntap*"
    ),
    ROUTER: (
        "fastrouter fastrouter-* rawrouter rawrouter-* sslrouter sslrouter2 sslrouter-* "
        "forkpty* mongrel2 zeromq* zmq* ping ping-timeout http-processes http-workers http-var "
        "http-to http-zerg http-fallback http-modifier1 http-modifier2 http-use-* http-events "
        "http-subscription-* http-gracetime http-quiet http-cheap http-stats http-stats-server "
        "http-ss http-uid http-gid http-resubscribe http-buffer-size "
        "http-server-name-as-http-host http-manage-source http-backend-http http-manage-rtsp "
        "http-post-buffering http-post-buffering-dir httprouter http-connect-timeout "
        "httprouter-* cgi-mode http-enable-proxy-protocol force-gateway"
    ),
    TLS: ("https-export-cert https-session-context sni sni-* ssl-* https-socket"),
    LOOP: (
        "async ugreen ugreen-* gevent gevent-* loop loop-* loops-list asyncio greenlet tornado "
        "stackless disable-async-warn-on-queue-full rbthreads clock clock-list clocks-list "
        "aiohttp"
    ),
    BUILD: (
        "cflags dot-h config-py build-plugin version python-version dump-options show-config "
        "binary-append-data print iprint exit print-sym print-symbol help usage print-version "
        "no-server command-mode test backtrace-depth early-python early-pyimport "
        "early-python-import early-pythonpath early-python-path python-worker-override "
        "plugins-info"
    ),
    DISCONNECT: (
        "ignore-sigpipe ignore-write-errors write-errors-tolerance disable-write-exception "
        "write-errors-exception-only body-read-warning"
    ),
    MEMORY: (
        "reload-on-as evil-reload-on-as reload-on-uss reload-on-pss mem-collector-freq "
        "reload-on-fd brutal-reload-on-fd"
    ),
    "an exception affects only its request": (
        "reload-on-exception reload-on-exception-type reload-on-exception-value "
        "reload-on-exception-repr exception-handler"
    ),
    STATIC: (
        "static-expires static-expires-* static-gzip static-gzip-* mimefile mime-file "
        "honour-range offload-thread file-serve-mode fileserve-mode check-static "
        "check-static-docroot static-check"
    ),
    "write `error_page`, and `wsgi_intercept_errors on;` for the application's own": (
        "error-page-403 error-page-404 error-page-500"
    ),
    "write a file that calls `paste.deploy.loadapp`, and `wsgi_app FILE;`": (
        "paste ini-paste ini-paste-logged paste-logger paste-name"
    ),
    "set `sys.modules` in the application's file": ("pymodule-alias post-pymodule-alias"),
    "`sys.argv` is not the application's": ("pyargv py-programname py-program-name"),
    "is no interface of an application any more": (
        "web3 pump wsgi-lite eval start_response-nodelay"
    ),
    "use the virtual environment's python": ("pyshell pyshell-oneshot pyrun python py python-raw"),
    "`wsgi_timeout` logs the stack of what is late, `python_status` shows those that run": (
        "py-tracebacker harakiri-verbose"
    ),
    "`python_reload watch` takes folders": ("py-auto-reload-ignore"),
    "is done with `ExecStartPre=` or in the application": (
        "file-write touch-chain-reload fs-brutal-reload mule-harakiri unenv envdir early-envdir "
        "ienv"
    ),
    "the processes are nginx's": ("procname procname-* auto-procname procname-master"),
    "the application has no module `uwsgi`": ("websockets-* websocket-*"),
    "the processes that an application starts are its own": ("forkbomb-delay check-interval"),
    "is a socket of clients: `rcvbuf=`, `sndbuf=`, `so_keepalive=` and `fastopen=` of `listen`": (
        "so-keepalive tcp-fast-open tcp-fastopen tcp-fast-open-client tcp-fastopen-client "
        "tcp-nodelay"
    ),
    "nginx writes to syslog itself: `error_log syslog:…`, `python_log syslog:…`": (
        "log-syslog log-socket log-zeromq syslog"
    ),
    "is of uWSGI's own memory or configuration": (
        "response-headers-limit strict skip-zero set-placeholder set-ph set ini yaml yml json "
        "js xml xmlconfig sqlite-config ldap-config pcre-jit max-vars reload-os-env "
        "http-raw-body no-site"
    ),
}

NEEDLESS: dict[str, str] = {
    "nginx has its master": ("master"),
    "nginx ends on TERM and QUIT": ("die-on-term"),
    "nginx removes its sockets": ("vacuum"),
    "an application that cannot be imported keeps nginx from starting (python_check)": ("need-app"),
    INTERPRETER: ("single-interpreter"),
    "the application may start threads": ("enable-threads no-threads-wait"),
    "applications are imported in the workers": ("lazy lazy-apps"),
    PYTHON: ("py-call-osafterfork py-call-uwsgi-fork-hooks"),
    "nginx has no thundering herd": ("thunder-lock thunder-lock-watchdog"),
    "nginx always calls initgroups": ("no-initgroups"),
    "each request has its own environ, and blocks are bytes": (
        "wsgi-env-behaviour wsgi-env-behavior wsgi-accept-buffer wsgi-accept-buffers"
    ),
    "the prefix of a mount is always taken from the path": ("manage-script-name"),
    "a client's header never sets SCRIPT_NAME": ("ignore-script-name"),
    "chunked bodies are read like any other": (
        "http-chunked-input chunked-input-limit chunked-input-timeout wsgi-manage-chunked-input"
    ),
    "nginx sends what has no length in chunks": ("http-auto-chunked"),
    "100 Continue is sent when the body is read": ("http-manage-expect"),
    "nginx has sendfile and its own threads for files": ("offload-threads"),
    "WebSockets are an ASGI application's": ("http-websockets"),
    "the log is never in the way": ("threaded-logger"),
}

# What takes no argument on a command line.
_FLAGS = """
    abstract-socket auto-procname autoload catch-exceptions cheap close-on-exec
    close-on-exec2 daemons-honour-stdin die-on-idle die-on-no-workers die-on-term
    disable-logging disable-sendfile disable-write-exception drop-after-apps drop-after-init
    dynamic-apps early-emperor early-python emperor-tyrant enable-metrics
    enable-proxy-protocol enable-threads exit-on-reload freebind gevent-early-monkey-patch
    gevent-monkey-patch greenlet harakiri-verbose help honour-range honour-stdin
    http-auto-chunked http-auto-gzip http-backend-http http-cheap http-chunked-input
    http-manage-expect http-manage-rtsp http-manage-source http-raw-body http-websockets
    https-export-cert ignore-script-name ignore-sigpipe ignore-write-errors jailed lazy
    lazy-apps log-4xx log-5xx log-master log-micros log-reopen log-truncate
    log-x-forwarded-for log-zero logfile-chown manage-script-name master master-as-root
    need-app no-default-app no-defer-accept no-initgroups no-orphans no-server no-site
    no-threads-wait pcre-jit py-call-osafterfork py-call-uwsgi-fork-hooks reaper
    reload-on-exception reload-os-env reuse-port show-config single-interpreter skip-atexit
    skip-atexit-teardown so-keepalive stats-http strict tcp-nodelay threaded-logger
    thunder-lock usage use-abort vacuum version vhost vhost-host wsgi-accept-buffer
    wsgi-accept-buffers wsgi-disable-file-wrapper wsgi-manage-chunked-input wsgi-strict
"""
FLAGS = frozenset(_FLAGS.split())

# Letters of the command line.
SHORT = {
    "-s": "socket",
    "-p": "processes",
    "-t": "harakiri",
    "-H": "home",
    "-w": "module",
    "-M": "master",
    "-T": "enable-threads",
    "-i": "single-interpreter",
    "-L": "disable-logging",
    "-l": "listen",
    "-b": "buffer-size",
    "-v": "max-vars",
    "-d": "daemonize",
    "-R": "max-requests",
    "-C": "chmod-socket",
    "-c": "cgi-mode",
    "-z": "socket-timeout",
    "-O": "optimize",
    "-m": "memory-report",
    "-S": "set",
    "-x": "xml",
    "-y": "yaml",
    "-j": "json",
    "-A": "sharedarea",
    "-Q": "spooler",
    "-r": "reaper",
    "-a": "abstract-socket",
    "-h": "help",
    "-J": "test",
}
