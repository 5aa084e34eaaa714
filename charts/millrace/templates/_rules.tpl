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
