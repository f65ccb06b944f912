"""What `classifier_plugin` in config.yaml names. The router's folder is in THINKROUTE_ROUTER."""

from router.server.litellm_plugin import ThinkrouteClassifier

classifier = ThinkrouteClassifier()
