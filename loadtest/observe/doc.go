// Package observe is what a load test sees of its target from outside the protocol: the metrics the target tells ([Source], [Compare]),
// and what the kernel tells of its process and of the host ([ReadProcess], [ReadAccepts], [TCPBytes]). Values only but for the one
// request of Source.Read; nothing here knows a scenario.
package observe
