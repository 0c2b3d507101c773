{{- define "pywsgi.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 55 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 55 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "pywsgi.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pywsgi.labels" -}}
{{ include "pywsgi.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* Seconds from a pod's deletion until the kubelet kills it. */ -}}
{{- define "pywsgi.grace" -}}
{{- with .Values.drain -}}
{{ add .endpoints .requests .responses .lifespan .finalize .reserve }}
{{- end -}}
{{- end -}}

{{- /* The pod's nginx.conf. One of the user's own must have the times that the sum above counts. */ -}}
{{- define "pywsgi.configuration" -}}
{{- $text := tpl (.Values.nginx.configuration | default (.Files.Get "files/nginx.conf")) . -}}
{{- with .Values.drain -}}
{{- $times := list (printf "worker_shutdown_timeout %ds;" (add .requests .responses))
      (printf "python_drain_timeout %ds;" (int .requests))
      (printf "shutdown_timeout=%ds" (int .lifespan))
      (printf "timeout=%ds;" (int .finalize)) -}}
{{- range $times -}}
{{- if not (contains . $text) -}}
{{- fail (printf "nginx.configuration has no \"%s\": write it there, or change the values of drain" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $text -}}
{{- end -}}
