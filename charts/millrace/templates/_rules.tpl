{{/*
What the operator may do in the namespaces whose tasks it runs: the same rules as ClusterRole and as Roles.
A test compares them with what the operator really calls, both ways. No Secrets, in any form.
*/}}
{{- define "millrace.rules" -}}
# What there is to run; reading is watching, from the operator's caches.
- apiGroups: [millrace.dev]
  resources: [taskdefinitions]
  verbs: [list, watch]
# Says whether a definition can be launched.
- apiGroups: [millrace.dev]
  resources: [taskdefinitions/status]
  verbs: [patch]
# What was asked to run; delete is for history limits. get looks once before a launch of some age gets its Job: a cache
# that lags may hold one that another operator finished and deleted.
- apiGroups: [millrace.dev]
  resources: [tasklaunches]
  verbs: [get, list, watch, delete]
# Says what became of a launch.
- apiGroups: [millrace.dev]
  resources: [tasklaunches/status]
  verbs: [patch]
# One Job per launch. patch marks one that is being ended; get looks once for a Job that the cache lacks.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
# Exit codes, and why a pod does not start. The operator never makes or deletes a pod itself.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# The Job controller's event has the only copy of the sentence with which quota or admission refused a pod.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
# Warnings about launches and definitions; patch counts repetitions.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.monitoring.enabled }}
# What there is to monitor with.
- apiGroups: [millrace.dev]
  resources: [taskmonitorings]
  verbs: [list, watch]
# Says how a stack stands, and how to open it.
- apiGroups: [millrace.dev]
  resources: [taskmonitorings/status]
  verbs: [patch]
# Workloads of a stack: made by server-side apply, which is create and patch; get looks whether a name is free before
# it is taken; delete is for parts that are switched off.
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get, list, watch, create, patch, delete]
# Their configuration, addresses, accounts and volumes. A volume is deleted only where storage.onDelete says so.
- apiGroups: [""]
  resources: [configmaps, services, serviceaccounts, persistentvolumeclaims]
  verbs: [get, list, watch, create, patch, delete]
# Grafana's administrator, made once. No Secret is ever read.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
# Who may connect to a stack's pods.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
# Parts with several replicas are drained one at a time.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# Lets a managed Prometheus list and watch the pods of its own namespace, which is no more than the operator may itself.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, watch, create, patch, delete]
{{- if .Values.monitoring.integrations }}
# What an external Prometheus or Grafana finds proxy and dashboards by, where its operator is installed.
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors, prometheusrules]
  verbs: [get, create, patch, delete]
- apiGroups: [grafana.integreatly.org]
  resources: [grafanadashboards]
  verbs: [get, create, patch, delete]
{{- end }}
{{- end }}
{{- end -}}

{{/* What the operator may do in its own namespace. */}}
{{- define "millrace.ownRules" -}}
# Makes the record of execution ids. (RBAC cannot limit create to a name.)
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create]
# Takes blocks of execution ids from that record, and reads no other ConfigMap.
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [millrace-execution-ids]
  verbs: [get, update]
{{- end -}}
