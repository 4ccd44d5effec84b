// Package cluster has strangers, and a hypervisor that turned bad, try what they must not be able to, on a network between machines:
// `make cluster`. Each machine is a network namespace; the programs are the real ones, with certificates between them and no plain text;
// guests are the fake hypervisor's, since no attempt is on them. docs/threat-model.md says what each attempt is for.
package cluster
