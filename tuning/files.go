package tuning

import _ "embed"

// Files for a host that has only the binary: shoal doctor --print.
var (
	//go:embed apply.sh
	applyScript string
	//go:embed systemd/shoal.service
	systemdUnit string
	//go:embed sysctl.d/90-shoal.conf
	sysctlFile string
	//go:embed limits.d/90-shoal.conf
	limitsFile string
)

// File is one of the files of this folder: apply.sh, sysctl, limits or unit; empty for any other name.
func File(name string) string {
	switch name {
	case "apply.sh":
		return applyScript
	case "sysctl":
		return sysctlFile
	case "limits":
		return limitsFile
	case "unit":
		return systemdUnit
	}
	return ""
}
