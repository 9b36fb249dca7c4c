package config

import "time"

// StepAccounts checks the accounts that are managed at run time. It has no
// settings.
type StepAccounts struct{}

// StepDevices checks the devices that are managed at run time, which connect as
// they do to a device cloud.
type StepDevices struct {
	// TimestampWindow is how far the timestamp of a device may be off. 0: it is not
	// looked at.
	TimestampWindow time.Duration `yaml:"timestamp_window"`
}

func (k *check) devices(key string, s *StepDevices) {
	between(k, key+".timestamp_window", s.TimestampWindow, 0, 24*time.Hour)
}
